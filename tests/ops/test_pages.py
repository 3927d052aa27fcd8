"""Tests for C{chanserv.ops.pages}: three pages over HTTP, to whoever may reach them."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chanserv.ops.pages import IDLE_TIMEOUT, MAX_CONNECTIONS, Pages, PagesFactory


class Client(StringTransport):
    """One connection's far end."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()


class OverHTTP(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.reasons: Deferred[list[str]] = succeed([])
        self.page: Deferred[tuple[bytes, str]] | None = None
        self.accepted: list[str] = []
        pages = Pages(self.metrics, lambda: self.reasons)
        self.factory = PagesFactory(pages, self.clock)
        self.factory.doStart()
        self.addCleanup(self.factory.doStop)

    def metrics(self, accept: str) -> Deferred[tuple[bytes, str]]:
        self.accepted.append(accept)
        return self.page or succeed((b"number 1\n", "text/plain"))

    def connect(self) -> Client | None:
        protocol = self.factory.buildProtocol(None)
        if protocol is None:
            return None
        client = Client()
        client.protocol = protocol
        protocol.makeConnection(client)
        self.addCleanup(self.leave, client)
        return client

    def leave(self, client: Client) -> None:
        if client.protocol in self.factory.protocols:
            client.protocol.connectionLost(Failure(ConnectionDone()))

    def ask(self, request: str, rest: str = "") -> tuple[int, dict[str, str], str]:
        client = self.connect()
        client.protocol.dataReceived(f"{request} HTTP/1.1\r\nHost: x\r\n{rest}\r\n".encode())
        return self.answer(client)

    def answer(self, client: Client) -> tuple[int, dict[str, str], str]:
        head, _, body = client.value().decode().partition("\r\n\r\n")
        status, *fields = head.split("\r\n")
        headers = dict(field.lower().split(": ", 1) for field in fields)
        return int(status.split(" ")[1]), headers, body

    def test_it_is_alive_whatever_else_is_wrong(self):
        self.reasons = succeed(["everything is wrong"])
        status, headers, body = self.ask("GET /healthz")
        self.assertEqual((status, body), (200, "alive\n"))
        self.assertEqual(headers["cache-control"], "no-store")
        self.assertEqual(headers["server"], "chanserv")

    def test_it_is_ready_where_nothing_speaks_against_it(self):
        self.assertEqual(self.ask("GET /readyz")[0::2], (200, "ready\n"))

    def test_else_each_reason_has_its_line(self):
        self.reasons = succeed(["no layer", "no worker"])
        self.assertEqual(self.ask("GET /readyz")[0::2], (503, "no layer\nno worker\n"))

    def test_metrics_are_in_the_format_that_was_asked_for(self):
        self.page = succeed((b"number 1\n# EOF\n", "application/openmetrics-text"))
        status, headers, body = self.ask("GET /metrics?x=1", "Accept: a/b\r\n")
        self.assertEqual((status, body), (200, "number 1\n# EOF\n"))
        self.assertEqual(headers["content-type"], "application/openmetrics-text")
        self.assertEqual(self.accepted, ["a/b"])

    def test_head_gives_the_same_without_the_page(self):
        for path in ("/healthz", "/readyz", "/metrics"):
            status, headers, body = self.ask(f"HEAD {path}")
            self.assertEqual((status, body), (200, ""), path)
            self.assertEqual(
                headers["content-length"], self.ask(f"GET {path}")[1]["content-length"]
            )

    def test_nothing_else_can_be_asked(self):
        self.assertEqual(self.ask("GET /")[0], 404)
        self.assertEqual(self.ask("GET /metrics/")[0], 404)
        status, headers, _ = self.ask("DELETE /metrics")
        self.assertEqual((status, headers["allow"]), (405, "get, head"))
        self.assertEqual(self.accepted, [])

    def test_a_body_is_refused_before_it_comes(self):
        for field in ("Content-Length: 5", "Transfer-Encoding: chunked"):
            client = self.connect()
            client.protocol.dataReceived(
                f"GET /healthz HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n".encode()
            )
            self.assertEqual(self.answer(client)[0], 413)
            self.assertTrue(client.disconnecting)

    def test_only_so_many_connections_are_served(self):
        clients = [self.connect() for _ in range(MAX_CONNECTIONS)]
        self.assertIsNone(self.connect())
        self.leave(clients[0])
        self.assertIsNotNone(self.connect())

    def test_a_silent_connection_is_closed(self):
        client = self.connect()
        self.clock.advance(IDLE_TIMEOUT + 1)
        self.assertTrue(client.disconnecting)

    def test_a_connection_may_ask_again(self):
        client = self.connect()
        for _ in range(2):
            client.clear()
            client.protocol.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(self.answer(client)[0], 200)

    def test_who_left_before_the_answer_is_not_missed(self):
        self.page = Deferred()
        client = self.connect()
        client.protocol.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.leave(client)
        self.page.callback((b"number 1\n", "text/plain"))
        self.assertEqual(client.value(), b"")

    def test_a_page_that_cannot_be_made_is_logged_and_said(self):
        self.page = Deferred()
        self.page.errback(ZeroDivisionError())
        self.assertEqual(self.ask("GET /metrics")[0], 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_all_connections_can_be_closed(self):
        client = self.connect()
        self.factory.close()
        self.assertTrue(client.aborted)
