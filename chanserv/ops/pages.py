"""
The pages of C{--metrics}: C{/metrics}, C{/healthz} and C{/readyz}.

They have a listener of their own, which no client of the site reaches, and which is
there from before the first connection until after the last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

MAX_CONNECTIONS: Final = 100
"""Connections at once: a few scrapers and load balancers keep one each."""

IDLE_TIMEOUT: Final = 75.0
"""Seconds after which a silent connection is closed: longer than scrapers commonly
wait between two visits."""

_TEXT: Final = "text/plain; charset=utf-8"

Answer: TypeAlias = tuple[int, str, bytes]
"""Status, content type and body."""


class Pages(Resource):
    """
    Answers C{GET} and C{HEAD} for the three pages.
    """

    isLeaf = True
    _log: ClassVar = Logger(namespace="chanserv")

    def __init__(
        self,
        metrics: Callable[[str], Deferred[tuple[bytes, str]]],
        reasons: Callable[[], Deferred[list[str]]],
    ) -> None:
        """
        @param metrics: makes the page of metrics, as bytes and their content type, from
            what the client accepts.
        @param reasons: see L{Readiness.reasons<chanserv.ops.health.Readiness.reasons>}.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._metrics = metrics
        self._reasons = reasons

    def render(self, request: Any) -> int:
        """Answer one request."""
        gone: list[Failure] = []

        def finish(answer: Answer) -> None:
            if not gone:
                _write(request, answer)

        def failed(failure: Failure) -> None:
            self._log.failure("A page of --metrics cannot be shown", failure=failure)
            finish((500, _TEXT, b"This page cannot be shown: the log says why.\n"))

        request.notifyFinish().addErrback(gone.append)
        answering = self._answer(request).addCallback(finish).addErrback(failed)
        answering.addErrback(lambda failure: self._log.failure("Nor can this be said", failure))
        return NOT_DONE_YET

    def _answer(self, request: Any) -> Deferred[Answer]:
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            return succeed((405, _TEXT, b"These pages are read with GET.\n"))
        match request.path:
            case b"/healthz":
                return succeed((200, _TEXT, b"alive\n"))
            case b"/readyz":
                return self._reasons().addCallback(_readiness)
            case b"/metrics":
                page = self._metrics(request.getHeader("accept") or "")
                return page.addCallback(lambda made: (200, made[1], made[0]))
        return succeed((404, _TEXT, b"Here are /metrics, /healthz and /readyz.\n"))


def _readiness(reasons: list[str]) -> Answer:
    if reasons:
        return 503, _TEXT, "".join(f"{reason}\n" for reason in reasons).encode()
    return 200, _TEXT, b"ready\n"


def _write(request: Any, answer: Answer) -> None:
    status, content_type, body = answer
    request.setResponseCode(status)
    for name, value in (
        (b"content-type", content_type.encode("ascii")),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"cache-control", b"no-store"),
        (b"server", b"chanserv"),
    ):
        request.setHeader(name, value)
    request.write(body)
    request.finish()


class _BodilessRequest(Request):
    """A request that is refused before anything of its body is kept."""

    def gotLength(self, length: int | None) -> None:
        super().gotLength(0)  # type: ignore[no-untyped-call]
        if length != 0:
            transport: Any = self.channel.transport
            transport.write(
                b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
            transport.loseConnection()

    def handleContentChunk(self, data: bytes) -> None:
        """Forget what comes until the connection is closed."""


class _PagesSite(Site):
    noisy = False

    def log(self, request: http.Request) -> None:
        """Log nothing: who asks asks every few seconds."""


class PagesFactory(WrappingFactory[ProtocolWrapper]):
    """
    Serves the pages, to a bounded number of connections.
    """

    noisy = False

    def __init__(self, pages: Pages, reactor: Any) -> None:
        site = _PagesSite(  # type: ignore[no-untyped-call]
            pages, requestFactory=_BodilessRequest, timeout=IDLE_TIMEOUT, reactor=reactor
        )
        site.displayTracebacks = False
        super().__init__(site)  # type: ignore[no-untyped-call]

    def logPrefix(self) -> str:
        """Its name in Twisted's own log lines."""
        return "chanserv's pages"

    def buildProtocol(self, addr: IAddress | None) -> ProtocolWrapper | None:  # type: ignore[override]
        """Serve one more connection; L{None}, which closes it, where there are enough."""
        return super().buildProtocol(addr) if len(self.protocols) < MAX_CONNECTIONS else None

    def close(self) -> None:
        """Close all connections."""
        for protocol in list(self.protocols):
            protocol.transport.abortConnection()
