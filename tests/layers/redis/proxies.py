"""A proxy before a server, which can lose what it is to pass on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

from tests.layers.redis.stores import the_reactor


class _Back(Protocol):
    """The side of the server."""

    def __init__(self, front: _Front) -> None:
        self.front = front

    def dataReceived(self, data: bytes) -> None:
        self.front.answered(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.front.transport.abortConnection()


class _Front(Protocol):
    """The side of the client."""

    back: _Back | None = None

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.early = b""
        self.late = b""
        self.is_bell = False

    def connectionMade(self) -> None:
        self.proxy.open.add(self)
        endpoint = UNIXClientEndpoint(the_reactor(), str(self.proxy.target))
        connectProtocol(endpoint, _Back(self)).addCallbacks(
            self.connected_back, lambda _: self.transport.abortConnection()
        )

    def connected_back(self, back: _Back) -> None:
        self.back = back
        if self not in self.proxy.open:
            back.transport.abortConnection()
        elif self.early:
            back.transport.write(self.early)

    def dataReceived(self, data: bytes) -> None:
        self.is_bell = self.is_bell or b"SUBSCRIBE" in data
        if self.back is None:
            self.early += data
        else:
            self.back.transport.write(data)

    def answered(self, data: bytes) -> None:
        if self.proxy.loses_next_answer and not self.is_bell:
            self.proxy.loses_next_answer = False
            self.transport.abortConnection()
        else:
            self.late += data
            self.pass_on()

    def pass_on(self) -> None:
        """Hand the client what it may have."""
        if not (self.proxy.holds_bells if self.is_bell else self.proxy.holds_answers):
            late, self.late = self.late, b""
            self.transport.write(late)

    def connectionLost(self, reason: Any = None) -> None:
        self.proxy.open.discard(self)
        if self.back is not None:
            self.back.transport.abortConnection()


class Proxy:
    """
    Passes everything on, until it is told otherwise.

    @ivar loses_next_answer: whether the next answer on a connection for
        commands ends that connection instead.
    @ivar holds_answers: whether what comes on connections for commands waits for
        L{release}.
    @ivar holds_bells: the same of connections for bells.
    @ivar refuses: whether connections end as they are made.
    """

    def __init__(self, target: Path, path: Path) -> None:
        """
        @param target: the server's Unix socket.
        @param path: where to listen.
        """
        self.target = target
        self.path = path
        self.loses_next_answer = False
        self.holds_answers = False
        self.holds_bells = False
        self.refuses = False
        self.open: set[_Front] = set()
        factory = Factory()
        factory.buildProtocol = self._build  # type: ignore[assignment, method-assign]
        self._port = the_reactor().listenUNIX(str(path), factory)

    def _build(self, _: Any) -> _Front | None:
        return None if self.refuses else _Front(self)

    @property
    def url(self) -> str:
        """Of a layer behind it."""
        return f"redis+unix://{self.path}"

    def release(self) -> None:
        """Pass on what has waited."""
        self.holds_answers = self.holds_bells = False
        for front in list(self.open):
            front.pass_on()

    def cut(self) -> None:
        """End all connections."""
        for front in list(self.open):
            front.transport.abortConnection()

    async def stop(self) -> None:
        """Listen no more."""
        self.cut()
        await self._port.stopListening()
