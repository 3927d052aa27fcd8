"""
The interface server: where connections end, and messages begin.

L{InterfaceServer} is a service with a factory to listen with.  It owns one
mailbox on its layer, keeps one C{receive} outstanding on it, and hands what
comes to the connection it is for.
"""

# mypy: allow-untyped-calls
# (the classes that these build on have few types)

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import IO, Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocolNegotiationFactory,
    IReactorTime,
)
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chanserv.interfaces import IChannelLayer
from chanserv.messages import Delivery
from chanserv.server.access_log import AccessLog
from chanserv.server.attendance import Attendance
from chanserv.server.context import Course, ServerContext
from chanserv.server.counts import Counts
from chanserv.server.draining import Drain
from chanserv.server.http import HTTPConnection
from chanserv.server.limits import Limits
from chanserv.server.proxies import ProxyHeaders
from chanserv.server.request_ids import RequestIds
from chanserv.server.websocket import SocketMaker

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
"""Seconds to wait before asking a failing layer again: the first time, and at
most, doubling in between."""


@implementer(IProtocolNegotiationFactory)
class HTTPServerFactory(ServerFactory[HTTPConnection]):
    """Makes the protocol of each new connection."""

    noisy = False

    def __init__(self, context: ServerContext, sockets: SocketMaker) -> None:
        self._context = context
        self._sockets = sockets

    def buildProtocol(self, addr: IAddress | None) -> HTTPConnection | None:
        """Make the protocol of one connection."""
        connection = HTTPConnection(self._context, self._sockets)
        connection.factory = self
        return connection

    def acceptableProtocols(self) -> list[bytes]:
        """
        What a TLS client may ask for by ALPN (RFC 7301).  Without this word
        Twisted refuses clients that ask for anything, as all browsers do.
        """
        if self._context.limits.http2_streams:
            return [b"h2", b"http/1.1"]
        return [b"http/1.1"]


class Pumping(Enum):
    """What an L{Inlet} does."""

    STOPPED = "stopped"
    RECEIVING = "receiving"
    HANDING_OUT = "handing out"
    PAUSED = "paused"
    """The layer has failed; it is asked again shortly."""


class Inlet:
    """
    Takes what comes to the server's mailbox, and hands it out.

    Between two receives the reactor gets its turn, so that a flood of
    messages holds up neither sockets nor timers; what comes meanwhile is
    taken in one trip.
    """

    _log = Logger()

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._receive: Deferred[list[Delivery]] | None = None
        self._call: IDelayedCall | None = None
        self._pause = 0.0
        self.state = Pumping.STOPPED

    def start(self) -> None:
        """Begin to receive."""
        if self.state is Pumping.STOPPED:
            self._ask()

    def stop(self) -> None:
        """Receive no more; nothing that has been received is lost."""
        self.state = Pumping.STOPPED
        if self._call is not None:
            self._call.cancel()
            self._call = None
        receive, self._receive = self._receive, None
        if receive is not None:
            receive.cancel()

    def _ask(self) -> None:
        context = self._context
        self._call = None
        self.state = Pumping.RECEIVING
        receive = context.layer.receive([context.mailbox], context.limits.deliveries)
        self._receive = receive
        receive.addCallbacks(self._received, self._failed)

    def _received(self, deliveries: list[Delivery]) -> None:
        self._receive = None
        if self._pause:
            self._pause = 0.0
            self._log.info("The channel layer answers again")
        self._context.batch += 1
        deliver = self._context.deliver
        for delivery in deliveries:
            deliver(delivery)
        self._context.outlet.nudge()
        if self.state is not Pumping.STOPPED:
            self.state = Pumping.HANDING_OUT
            self._call = self._context.clock.callLater(0, self._ask)

    def _failed(self, failure: Failure) -> None:
        self._receive = None
        if self.state is Pumping.STOPPED or failure.check(CancelledError):
            return
        if not self._pause:
            self._log.warn(
                "The interface server cannot receive from its channel layer: {error}. It "
                "goes on trying; requests are answered 503 meanwhile",
                error=failure.getErrorMessage(),
            )
        self._pause = min(max(_FIRST_PAUSE, self._pause * 2), _LONGEST_PAUSE)
        self.state = Pumping.PAUSED
        self._call = self._context.clock.callLater(self._pause, self._ask)


class InterfaceServer(Service):
    """
    Serves HTTP and WebSocket clients over a channel layer.

    @ivar factory: what to listen with, on any stream endpoints.
    @ivar counts: what it has done so far.
    """

    _log = Logger()

    def __init__(
        self,
        layer: IChannelLayer,
        reactor: IReactorTime,
        *,
        limits: Limits | None = None,
        ordered: bool = True,
        http_timeout: float | None = None,
        compression: bool = False,
        access_log: AccessLog | str | IO[str] | None = None,
        root_path: str = "",
        proxies: ProxyHeaders | None = None,
        request_ids: bool = True,
        server_name: str | None = None,
        watch_workers: bool = False,
    ) -> None:
        """
        @param layer: where the workers are.
        @param limits: all bounds; the defaults are meant for a public server.
        @param ordered: whether a connection's next event waits for the one
            before to be settled.  A layer that does not settle cannot do this.
        @param http_timeout: seconds that a request waits for its answer, where
            they are not those of C{limits}.
        @param compression: whether WebSockets may be compressed.
        @param access_log: where to log requests: a path, C{"-"} for standard
            output, a stream, a log; or L{None}.
        @param root_path: the path under which a proxy mounts the site.  It is
            told to the site; C{path} still begins with it.
        @param proxies: reads what proxies say of clients; L{None} to believe none.
        @param request_ids: whether each request gets an id, where it has none.
        @param server_name: what the C{Server} header says where the site sets none,
            empty for no header; L{None} for our own name.
        @param watch_workers: whether to hold what comes while no worker is there; see
            L{chanserv.server.attendance}.  For a layer with groups that workers of
            other processes read.
        @raise OSError: the access log cannot be opened.
        """
        limits = limits or Limits()
        if http_timeout is not None:
            limits = replace(limits, http_timeout=http_timeout)
        if access_log is not None and not isinstance(access_log, AccessLog):
            access_log = AccessLog(access_log, reactor)
        self._context = ServerContext(
            layer,
            reactor,
            limits=limits,
            ordered=ordered,
            access_log=access_log,
            root_path=root_path.rstrip("/"),
            proxies=proxies,
            request_ids=RequestIds() if request_ids else None,
            server_name=server_name,
        )
        self._inlet = Inlet(self._context)
        self._watch_workers = watch_workers
        self._attendance = Attendance(layer, reactor, self._context.outlet)
        sockets = SocketMaker(limits, reactor, compression=compression)
        self.factory = HTTPServerFactory(self._context, sockets)

    @property
    def counts(self) -> Counts:
        """What the server has done."""
        return self._context.counts

    @property
    def mailbox(self) -> str:
        """The mailbox that replies to this server go to."""
        return self._context.mailbox

    @property
    def workers_present(self) -> bool | None:
        """
        Whether there are workers; L{None} where that is not known, since none has been
        seen yet, or since nobody looks.
        """
        return self._attendance.workers_present

    def startService(self) -> None:
        """Begin to take replies.  Listening is for who has the endpoints."""
        super().startService()
        self._context.course = Course.SERVING
        self._context.outlet.start()
        self._inlet.start()
        if self._watch_workers:
            self._attendance.start()

    def stopService(self) -> Deferred[None]:
        """
        End all connections: requests when they are answered, WebSockets with
        close code 1012, one after the other.  Nothing should be accepted any more;
        workers should still be there.

        @return: fires when the last one has ended, and workers have heard of it: at
            the latest a second after C{drain_timeout}.
        """
        super().stopService()
        ended: Deferred[None] = Deferred()
        Drain(self._context, lambda: self._ended(ended)).begin()
        return ended

    def _ended(self, ended: Deferred[None]) -> None:
        context = self._context
        self._attendance.stop()
        self._inlet.stop()
        context.outlet.stop()
        context.losses.stop()
        context.timeouts.stop()
        if context.access_log is not None:
            context.access_log.close()
        ended.callback(None)
