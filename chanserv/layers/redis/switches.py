"""
Hearing from a sentinel that another server is the master now.

Most fail-overs show by themselves: the old master is gone, and so are the
connections to it.  But one that was told to step down, or that only stands
still, keeps its connections for ten seconds and more; what is sent to it
meanwhile is lost, since it will take the new master's data in place of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.errors import LayerUnavailable
from chanserv.layers.redis.links import bell_class
from chanserv.layers.redis.sentinel import ANSWER_TIMEOUT, SentinelLinks
from chanserv.layers.redis.server import Address, Server, Watched

NEXT_SENTINEL: Final = 1.0
"""Seconds before all sentinels are tried again, when none can be listened to any more."""

PING_INTERVAL: Final = 5.0
"""Seconds between two questions whether it is still there."""

_CHANNEL: Final = b"+switch-master"


class SwitchWatch:
    """Listens to one sentinel of a server, and to the next when that is gone."""

    _log: ClassVar = Logger(namespace="chanserv.redis")

    def __init__(
        self,
        server: Server,
        reactor: Any,
        switched: Callable[[Address], None],
        by_hiredis: bool | None = None,
        reports: bool = True,
    ) -> None:
        """
        @param server: one that is watched.
        @param switched: called with the address of a master, the new one or
            still the same.
        @param reports: whether it is worth a line in the log that the sentinels
            have fallen silent.
        """
        assert server.watched is not None
        self._watched: Watched = server.watched
        self._name = server.name
        self._reactor = reactor
        self._switched = switched
        self._links = SentinelLinks(self._watched, reactor, bell_class(by_hiredis), ANSWER_TIMEOUT)
        self._reports = reports
        # Whether one was heard since all were tried last, and whether they have fallen silent.
        self._has_heard = False
        self._are_silent: bool | None = None
        self._watching: Deferred[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        watching = self._watching = Deferred.fromCoroutine(self._watch())
        watching.addErrback(self._ended)

    def stop(self) -> None:
        """Listen no more."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()

    def _ended(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:  # type: ignore[no-untyped-call]
            self._log.failure(
                "nobody listens to the sentinels of {name} any more", failure, name=self._name
            )

    async def _watch(self) -> None:
        why = Exception("there is none")
        while True:
            for sentinel in self._watched.sentinels:
                try:
                    await self._listen(sentinel)
                except CancelledError:
                    raise
                except Exception as error:
                    why = error
            self._tried_all(why)
            await deferLater(self._reactor, NEXT_SENTINEL)

    def _tried_all(self, why: Exception) -> None:
        """
        See whether they have fallen silent.

        Where none was ever heard nothing is said here: whoever looks for the
        master says which sentinels are out of reach.
        """
        if not self._has_heard and self._are_silent is False:
            self._are_silent = True
            if self._reports:
                self._log.warn(
                    "Redis {name}: no sentinel is heard any more ({why}): should another server "
                    "become the master, it shows when the connection to this one breaks",
                    name=self._name,
                    why=why,
                )
        self._has_heard = False

    def _hears(self) -> None:
        if self._are_silent and self._reports:
            self._log.info("Redis {name}: a sentinel is heard again", name=self._name)
        self._has_heard = True
        self._are_silent = False

    async def _listen(self, sentinel: Address) -> None:
        """Listen until it is gone, which is an exception."""
        pause: Deferred[None] = succeed(None)

        def ended(why: LayerUnavailable) -> None:
            # Whatever else waits for the link fails by itself.
            if not pause.called:
                pause.errback(why)

        reached = Deferred.fromCoroutine(self._links.reach(sentinel, ended))
        reached.addTimeout(ANSWER_TIMEOUT, self._reactor)
        link = await reached
        try:
            link.heard = self._heard
            await link.call("SUBSCRIBE", _CHANNEL)
            self._hears()
            # What it said before that has not been heard.
            master = await self._links.ask(sentinel)
            if master is not None:
                self._switched(master)
            while True:
                pause = Deferred()
                pause.addTimeout(PING_INTERVAL, self._reactor, lambda _, __: None)
                await pause
                await link.call("PING")
        finally:
            link.abort("heard enough")

    def _heard(self, _: bytes, payload: bytes) -> None:
        words = payload.decode("utf-8", "replace").split()
        if len(words) == 5 and words[0] == self._watched.service and words[4].isdigit():
            self._switched((words[3], int(words[4])))
