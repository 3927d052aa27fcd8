"""
A connection to one Redis server that comes back by itself.

Whoever uses it is told the truth at once.  While it is I{up}, commands go out.
While the server is known to be I{down}, they fail, with the reason.  Only in
between, while nobody knows (at the start, and when a connection has just been
lost), they wait, a bounded number of them for a bounded time.  A command that
was under way when its connection went fails and is never sent again: nobody
knows whether the server has done it.

It does not use Twisted's C{ClientService}, which keeps to itself how each
attempt ended; here this decides what is said, when the next attempt is made
and what waits or fails meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from random import random as random_fraction
from typing import Any, ClassVar, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.errors import ChannelLayerError, LayerUnavailable
from chanserv.layers.redis.endpoints import connected, why_not_reached
from chanserv.layers.redis.greeting import greet
from chanserv.layers.redis.held import Commands, HeldCommands
from chanserv.layers.redis.limits import (
    CLOSE_TIMEOUT,
    DEFAULT_LIMITS,
    RETURN_SPREAD,
    STEADY,
    Limits,
    back_off,
)
from chanserv.layers.redis.links import LinkFactory, link_class
from chanserv.layers.redis.protocol import Link, Word
from chanserv.layers.redis.refusals import Refused
from chanserv.layers.redis.script import Script
from chanserv.layers.redis.sentinel import endpoint_of
from chanserv.layers.redis.server import Address, Server, shown_address
from chanserv.layers.redis.switches import SwitchWatch

__all__ = ["Commands", "Connection", "Limits", "State"]


class State(Enum):
    """What a connection is about."""

    STOPPED = "stopped"
    TRYING = "trying"
    UP = "up"
    RESTING = "resting"
    STOPPING = "stopping"


class Connection:
    """
    Commands for one server.

    All methods are called on the reactor's thread.

    @ivar server: the server.
    @ivar up: whether commands go out at once.
    """

    _log: ClassVar = Logger(namespace="chanserv.redis")

    def __init__(
        self,
        server: Server,
        reactor: Any,
        *,
        prepare: Callable[[Commands], Deferred[Any] | None] | None = None,
        lost: Callable[[], None] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        reports: bool = True,
        client_name: str = "chanserv",
        by_hiredis: bool | None = None,
        random: Callable[[], float] = random_fraction,
    ) -> None:
        """
        @param prepare: called with each new connection, before the commands of
            anybody else go out: these wait for its Deferred.  When that fails,
            the connection is dropped and another tried later.
        @param lost: called each time that a connection which was up is gone,
            after all commands under way have failed; but not for L{stop}.
        @param reports: whether its loss and its return are worth a line in the
            log; not so for the second connection to a server.  Refusals always are.
        @param client_name: what C{CLIENT LIST} calls it.
        @param by_hiredis: whether hiredis reads the replies; L{None} where it
            is installed.
        @param random: gives a number from 0 to 1, to spread the attempts of processes.
        @raise ConfigurationError: a file for TLS cannot be used.
        """
        self.server = server
        self._reactor = reactor
        self._prepare = prepare
        self._lost = lost
        self._limits = limits
        self._reports = reports
        self._client_name = client_name
        self._random = random
        self._link_class = self._choose_link_class(by_hiredis)
        self._endpoint = endpoint_of(server, reactor, by_hiredis)
        self._switches = (
            None
            if server.watched is None
            else SwitchWatch(server, reactor, self._switched, by_hiredis, reports)
        )
        self._factory = LinkFactory(self._build_link)
        self._state = State.STOPPED
        self._up: Link | None = None
        # The link that is tried or up, why one ended as it was tried, and what tries it.
        self._link: Link | None = None
        self._ended: LayerUnavailable | None = None
        self._attempt: Deferred[None] | None = None
        self._held = HeldCommands(
            server.name, reactor, limits.patience, limits.max_waiting, self._patience_ended
        )
        self._rest: IDelayedCall | None = None
        self._failures = 0
        self._up_at = 0.0
        self._down_at = 0.0
        self._said: str | None = None
        self._stopped: list[Deferred[None]] = []

    @property
    def up(self) -> bool:
        """Whether commands go out at once."""
        return self._up is not None

    @property
    def down(self) -> str | None:
        """Why commands fail at once; L{None} while they go out, or nobody knows."""
        return self._held.why

    @property
    def state(self) -> State:
        """What it is about."""
        return self._state

    # Commands

    def call(self, *words: Word) -> Deferred[Any]:
        """
        Send a command; see L{Commands.call}.

        It fails with L{LayerUnavailable} at once while the server is down.
        """
        link = self._up
        if link is not None:
            return link.call(*words)
        return self._held.add(lambda link: link.call(*words))

    def run(
        self, script: Script, keys: Sequence[Word] = (), args: Sequence[Word] = ()
    ) -> Deferred[Any]:
        """Run a script; see L{Commands.run}, and L{call} for when it is down."""
        link = self._up
        if link is not None:
            return link.run(script, keys, args)
        return self._held.add(lambda link: link.run(script, keys, args))

    # From the start to the stop

    def start(self) -> None:
        """Begin to connect."""
        if self._state is State.STOPPED:
            self._failures = 0
            self._said = None
            self._down_at = self._reactor.seconds()
            self._held.hold()
            if self._switches is not None:
                self._switches.start()
            self._try()

    def stop(self) -> Deferred[None]:
        """
        Close the connection, and make no other.

        What waits and what is under way fails with L{LayerUnavailable}.

        @return: fires when it is closed.
        """
        if self._state is State.STOPPED:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._stopped.append(done)
        if self._state is State.STOPPING:
            return done
        self._state = State.STOPPING
        self._up = None
        if self._switches is not None:
            self._switches.stop()
        self._held.refuse(f"Redis {self.server.name}: the connection has been closed")
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._attempt is not None:
            self._attempt.cancel()
        elif self._link is not None:
            self._close(self._link)
        else:
            self._end()
        return done

    def _close(self, link: Link) -> None:
        link.close()
        self._rest = self._reactor.callLater(CLOSE_TIMEOUT, link.abort, "closed")

    def _end(self) -> None:
        if self._rest is not None and self._rest.active():
            self._rest.cancel()
        self._rest = None
        self._state = State.STOPPED
        stopped, self._stopped = self._stopped, []
        for done in stopped:
            done.callback(None)

    # One attempt

    def _try(self) -> None:
        self._rest = None
        self._state = State.TRYING
        self._ended = None
        attempt = self._attempt = Deferred.fromCoroutine(self._reach_and_prepare())
        attempt.addCallbacks(lambda _: self._reached(), self._failed)
        attempt.addErrback(self._our_fault)

    async def _reach_and_prepare(self) -> None:
        reached = Deferred.fromCoroutine(self._reach())
        # With TLS a connection is made before the two sides have agreed, so this is
        # bounded as a whole.
        reached.addTimeout(self.server.connect_timeout, self._reactor)
        await reached
        assert self._link is not None
        await self._prepare_link(self._link)

    async def _reach(self) -> None:
        link = await connected(self._endpoint, self._factory)
        self._link = link
        await greet(link, self.server, self._client_name)

    async def _prepare_link(self, link: Link) -> None:
        if self._prepare is None:
            return
        try:
            prepared = self._prepare(link)
            if prepared is not None:
                await prepared
        except (ChannelLayerError, CancelledError):
            raise
        except Exception as error:
            self._our_fault(Failure(error))  # type: ignore[no-untyped-call]
            raise LayerUnavailable(
                f"Redis {self.server.name}: a connection could not be prepared: {error}"
            ) from error

    def _build_link(self) -> Link:
        link = self._link_class(
            self.server.name,
            self._reactor,
            self.server.reply_timeout,
            lambda: self._link_ending(link),
            lambda why: self._link_ended(link, why),
            self._limits.max_unanswered,
            self._limits.max_unsent,
        )
        return link

    def _choose_link_class(self, by_hiredis: bool | None) -> type[Link]:
        return link_class(by_hiredis)

    def _reached(self) -> None:
        """A connection stands and is prepared."""
        self._attempt = None
        link = self._link
        assert link is not None
        self._state = State.UP
        self._up = link
        self._up_at = self._reactor.seconds()
        self._say_back()
        self._held.release(link)

    def _failed(self, failure: Failure) -> None:
        """An attempt came to nothing."""
        self._attempt = None
        link, self._link = self._link, None
        if self._state is State.STOPPING:
            if link is None or not link.connected:
                self._end()
            else:
                self._link = link
                self._close(link)
            return
        if link is not None:
            link.abort("the attempt has failed")
        self._rest_for(self._error_of(failure))

    def _error_of(self, failure: Failure) -> ChannelLayerError:
        if isinstance(failure.value, ChannelLayerError):
            return failure.value
        if self._ended is not None:
            return self._ended
        return LayerUnavailable(f"Redis {self.server.name}: {why_not_reached(failure)}")

    def _rest_for(self, error: ChannelLayerError) -> None:
        """Wait for the next attempt, knowing what is wrong."""
        self._failures += 1
        self._state = State.RESTING
        self._rest = self._reactor.callLater(
            back_off(self.server, self._limits, self._failures, error, self._random()), self._try
        )
        self._say_down(error)
        # Last, since whoever waited may go on to anything.
        self._held.refuse(str(error))

    # The end of a connection

    def _switched(self, master: Address) -> None:
        """A sentinel says that another server is the master."""
        if self._link is not None and self._endpoint.master != master:
            self._link.abort(f"Redis {self.server.name}: its master is {shown_address(master)} now")

    def _link_ending(self, link: Link) -> None:
        """Nothing more can be sent on it; what is under way has yet to fail."""
        if link is self._up:
            self._up = None
            self._down_at = self._reactor.seconds()
            self._held.hold()

    def _link_ended(self, link: Link, why: LayerUnavailable) -> None:
        if link is not self._link:
            return
        if self._attempt is not None:
            # What it waits for may have nothing to do with the connection.
            self._ended = why
            self._attempt.cancel()
            return
        self._link = None
        if self._state is State.STOPPING:
            self._end()
            return
        if self._down_at - self._up_at < STEADY:
            self._rest_for(why)
        else:
            self._failures = 0
            self._state = State.RESTING
            self._rest = self._reactor.callLater(RETURN_SPREAD * self._random(), self._try)
            self._say_down(why)
        if self._lost is not None:
            try:
                self._lost()
            except Exception:
                self._our_fault(Failure())  # type: ignore[no-untyped-call]

    def _patience_ended(self, error: LayerUnavailable) -> None:
        self._say_down(error)

    # The log

    def _say_down(self, error: ChannelLayerError) -> None:
        """Once for each time that it is down, and again when it refuses us for another reason."""
        about = error.code if isinstance(error, Refused) else _AWAY
        if about == self._said:
            return
        self._said = about
        if self._reports or about != _AWAY:
            self._log.warn("{error}; it is tried again until it serves", error=str(error))

    def _say_back(self) -> None:
        said, self._said = self._said, None
        if said is not None and (self._reports or said != _AWAY):
            away = self._reactor.seconds() - self._down_at
            self._log.info(
                "Redis {name} is back after {away:.1f} s", name=self.server.name, away=away
            )

    def _our_fault(self, failure: Failure) -> None:
        self._log.failure("a connection to Redis {name} went wrong", failure, name=self.server.name)


_AWAY: Final = "away"
"""What C{_said} is when there was no connection; a code of L{Refused} otherwise."""
