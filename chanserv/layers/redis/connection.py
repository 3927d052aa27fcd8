"""
Connections to one Redis server that come back by themselves.

SKELETON of the API; the bodies follow in the next commits.

    connection = Connection(server, reactor, prepare=prepare, lost=lost)
    connection.start()
    connection.call("PING")                     # Deferred: bytes, int, None or list
    connection.run(script("send"), keys, args)  # EVALSHA, loaded again on NOSCRIPT
    connection.stop()                           # Deferred

    bell = Subscription(server, reactor, channels=[b"chanserv:bell:x"], heard=heard, ...)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from chanserv.layers.redis.addresses import Server
from chanserv.layers.redis.script import Script

Word = bytes | str | int | float
"""What a command is made of; str goes as UTF-8."""


class Commands(Protocol):
    """What runs commands: a L{Connection}, and the link that C{prepare} is given."""

    def call(self, *words: Word) -> Deferred[Any]:
        """Fires with bytes, int, None or a list of these; fails with a ChannelLayerError only."""

    def run(self, script: Script, keys: Sequence[Word], args: Sequence[Word]) -> Deferred[Any]:
        """The same for a script."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a connection: patience, longest_back_off, refused_delay, max_waiting..."""


class Connection:
    """
    @ivar server: L{Server}; C{server.name} is safe for logs and for the ring.
    @ivar up: whether commands go out at once.
    """

    def __init__(
        self,
        server: Server,
        reactor: Any,
        *,
        prepare: Callable[[Commands], Deferred[Any] | None] | None = None,
        lost: Callable[[], None] | None = None,
        limits: Limits = Limits(),  # noqa: B008
        reports: bool = True,
        hiredis: bool | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        """
        @param prepare: called with each new connection, before anyone else's commands run;
            they wait until its Deferred fires. If it fails, the connection is dropped and
            tried again later.
        @param lost: called each time that a connection which was up is gone, after the
            commands in flight have failed.
        @param reports: whether loss and return are logged (for the second of two
            connections to one server: False).
        @param hiredis: whether hiredis parses; None: where it is installed.
        """

    server: Server
    up: bool

    def start(self) -> None: ...

    def stop(self) -> Deferred[None]: ...

    def call(self, *words: Word) -> Deferred[Any]:
        """
        Fails with LayerUnavailable at once while the server is known to be down; while nobody
        knows yet (at the start, just after a loss) it waits, at most `patience` seconds.
        """

    def run(self, script: Script, keys: Sequence[Word], args: Sequence[Word]) -> Deferred[Any]: ...


class Subscription(Connection):
    """
    The same, holding SUBSCRIBE to `channels`; heard(channel, payload) for each push.

    `prepare` runs when the subscription stands (on the new connection, which takes no other
    commands then but PING): `up` is True when SUBSCRIBE has been answered.
    """

    def __init__(
        self,
        server: Server,
        reactor: Any,
        *,
        channels: Sequence[bytes],
        heard: Callable[[bytes, bytes], None],
        ready: Callable[[], None] | None = None,
        lost: Callable[[], None] | None = None,
        limits: Limits = Limits(),  # noqa: B008
        reports: bool = False,
        hiredis: bool | None = None,
        random: Callable[[], float] | None = None,
    ) -> None: ...
