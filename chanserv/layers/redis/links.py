"""
The kinds of links: by who reads the replies, and whether they listen.

hiredis reads them where it is installed, and txredisapi's own parser where it
is not, several times slower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from twisted.internet.protocol import Factory
from twisted.logger import Logger

from chanserv.layers.redis.protocol import Link, txredisapi

try:
    import hiredis
except ImportError:
    hiredis = None  # type: ignore[assignment]


class PlainLink(Link):
    """Replies are read by txredisapi, in Python."""

    _left = b""

    def _read(self, data: bytes) -> None:
        # The parser hands back what stands behind a bulk string, through setLineMode.
        while data:
            self._left = b""
            super(Link, self).dataReceived(data)
            data = self._left

    def setLineMode(self, extra: bytes = b"") -> None:
        """As the parser's own, which would come back to the rest by a timer."""
        self.line_mode = 1
        self._left = extra

    def lineReceived(self, line: str) -> None:
        """A status is the same here, C{QUEUED} too, wherever it stands."""
        kind = line[:1]
        if kind == "+":
            status = line[1:].encode()
            if self.multi_bulk.pending:
                self.handleMultiBulkElement(status)
            else:
                self.replyReceived(status)
        elif kind and kind in "$*:-":
            super().lineReceived(line)
        else:
            raise ValueError(f"{line[:40]!r} is no reply")

    def replyReceived(self, reply: Any) -> None:
        """The parser hands over as a reply what it could not read."""
        if isinstance(reply, txredisapi.InvalidResponse):
            raise reply
        super().replyReceived(reply)


class HiredisLink(Link):
    """Replies are read by hiredis."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pack = hiredis.pack_command  # type: ignore[assignment]
        self._reader = hiredis.Reader(
            replyError=txredisapi.ResponseError, notEnoughData=_NOT_ENOUGH
        )

    def _read(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        gets, waiting = reader.gets, self._waiting
        while (reply := gets()) is not _NOT_ENOUGH:
            if waiting and not isinstance(reply, Exception):
                waiting.popleft().callback(reply)
            else:
                self.replyReceived(reply)


_NOT_ENOUGH: Final = object()


class _Bell(Link):
    """
    A connection that listens to what is published.

    @ivar heard: called with the channel and what was published there.
    """

    _log: ClassVar = Logger(namespace="chanserv.redis")

    heard: Callable[[bytes, bytes], None]

    def replyReceived(self, reply: Any) -> None:
        """Something published, or an answer."""
        if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message":
            try:
                self.heard(reply[1], reply[2])
            except Exception:
                self._log.failure("what was published on {name} was lost on us", name=self.name)
        else:
            super().replyReceived(reply)


class PlainBell(_Bell, PlainLink):
    """A L{PlainLink} that listens."""


class HiredisBell(_Bell, HiredisLink):
    """A L{HiredisLink} that listens."""

    def _read(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not _NOT_ENOUGH:
            self.replyReceived(reply)


class LinkFactory(Factory):
    """Makes links as it is told."""

    noisy = False

    def __init__(self, make: Callable[[], Link]) -> None:
        self._make = make

    def buildProtocol(self, addr: object) -> Any:
        """See L{IProtocolFactory<twisted.internet.interfaces.IProtocolFactory>}."""
        return self._make()


def _by_hiredis(wanted: bool | None) -> bool:
    return hiredis is not None if wanted is None else wanted


def link_class(by_hiredis: bool | None = None) -> type[Link]:
    """
    The protocol to use.

    @param by_hiredis: whether hiredis reads the replies; L{None} where it is
        installed.
    """
    return HiredisLink if _by_hiredis(by_hiredis) else PlainLink


def bell_class(by_hiredis: bool | None = None) -> type[_Bell]:
    """The same for a connection that listens."""
    return HiredisBell if _by_hiredis(by_hiredis) else PlainBell
