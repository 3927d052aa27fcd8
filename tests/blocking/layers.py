"""Channel layers that need a reactor, for programs that have none."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from chanserv.interfaces import IChannelLayer
from chanserv.layers import MemoryChannelLayer
from chanserv.testing.fakes import PlainLayer


@implementer(IChannelLayer)
class Tied(PlainLayer):
    """A memory layer without a face of its own: it needs a reactor.  Says when it closes."""

    says = True

    def __init__(self, reactor: Any, **config: Any) -> None:
        super().__init__(MemoryChannelLayer.for_reactor(reactor, **config))
        self.reactor = reactor

    @classmethod
    def for_reactor(cls, reactor: Any, **config: Any) -> Tied:
        return cls(reactor, **config)

    def close(self) -> Deferred[None]:
        if self.says:
            sys.stdout.write("closed\n")
            sys.stdout.flush()
        return self.original.close()


class Silent(Tied):
    """The same, without a word."""

    says = False


class NeverClosing(Tied):
    """The same, for which there is always something left to do."""

    def close(self) -> Deferred[None]:
        super().close()
        return Deferred()


class Connection(Protocol):
    """
    @ivar over: fires when it is.
    """

    def __init__(self) -> None:
        self.over: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.over.callback(None)


class Dialled(Tied):
    """
    The same with a connection to C{path}, a Unix socket, on which it says nothing but
    C{goodbye} as it is closed.

    @ivar paused: do not even listen there.
    """

    says = False

    def __init__(self, reactor: Any, path: str, paused: bool = False) -> None:
        super().__init__(reactor)
        self.protocol = Connection()
        self.connected = connectProtocol(UNIXClientEndpoint(reactor, path), self.protocol)
        if paused:
            self.connected.addCallback(lambda _: self.protocol.transport.pauseProducing())

    def send(self, *args: Any) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if self.connected.called:
            return self.original.send(*args)
        self.connected.addCallback(lambda _: self.original.send(*args)).chainDeferred(done)
        return done

    def close(self) -> Deferred[None]:
        transport: Any = self.protocol.transport
        if transport is not None:
            transport.write(b"goodbye")
            transport.loseConnection()
        return self.protocol.over


TIED = {"BACKEND": "tests.blocking.layers.Tied"}
SILENT = {"BACKEND": "tests.blocking.layers.Silent"}
NEVER_CLOSING = {"BACKEND": "tests.blocking.layers.NeverClosing"}


def dialled(path: str, paused: bool = False) -> dict[str, object]:
    return {
        "BACKEND": "tests.blocking.layers.Dialled",
        "CONFIG": {"path": path, "paused": paused},
    }
