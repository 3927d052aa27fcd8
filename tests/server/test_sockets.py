"""The server on real sockets, with clients that know nothing of it."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import defer, endpoints, reactor, threads  # noqa: TID253
from twisted.trial.unittest import TestCase
from websockets.sync.client import connect

from chanserv.layers.memory import MemoryChannelLayer
from chanserv.messages import Send
from chanserv.server import InterfaceServer, Limits
from tests.server.rig import EVENTS, HANDSHAKE, web

PATIENCE = 60


class Site:
    """
    A worker on the reactor: answers with a script, settles, remembers.

    A script may also be a generator of parts, which are sent as the receipts
    of those before come in.
    """

    def __init__(self, layer: MemoryChannelLayer, script: Callable[..., Any]) -> None:
        self.layer = layer
        self.script = script
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.receive: defer.Deferred[Any] | None = None
        self.ask()

    def ask(self) -> None:
        self.receive = self.layer.receive(EVENTS, limit=100)
        self.receive.addCallbacks(self.answer, lambda failure: None)

    def answer(self, deliveries: list[Any]) -> None:
        for delivery in deliveries:
            message = dict(delivery.message)
            self.events.append((delivery.channel, message))
            replies = self.script(delivery.channel, message) or ()
            operations = [Send(message["reply_channel"], reply) for reply in replies]
            self.layer.send_batch(operations, [delivery])
        reactor.callLater(0, self.ask)  # type: ignore[attr-defined]

    def named(self, channel: str) -> list[dict[str, Any]]:
        return [message for name, message in self.events if name == channel]


class OnSockets(TestCase):
    timeout = PATIENCE

    async def serve(
        self, script: Callable[..., Any] = web, endpoint: str = "", **options: Any
    ) -> int:
        """@return: the port."""
        self.layer = MemoryChannelLayer(clock=reactor, call_from_thread=reactor.callFromThread)  # type: ignore[arg-type, attr-defined]
        self.site = Site(self.layer, script)
        self.server = InterfaceServer(self.layer, reactor, **options)  # type: ignore[arg-type]
        self.server.startService()
        description = endpoint or "tcp:0:interface=127.0.0.1"
        port = await endpoints.serverFromString(reactor, description).listen(self.server.factory)
        self.addCleanup(self.layer.close)
        self.addCleanup(self.server.stopService)
        self.addCleanup(port.stopListening)
        return int(getattr(port.getHost(), "port", 0))

    def directory(self) -> Path:
        """A directory that goes away with the test."""
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        return Path(made.name)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that will happen."""
        while not condition():
            await self.pause()

    async def pause(self) -> None:
        """Let the reactor and the network have their turn."""
        over: defer.Deferred[None] = defer.Deferred()
        reactor.callLater(0.002, over.callback, None)  # type: ignore[attr-defined]
        await over

    async def in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await threads.deferToThread(call, *arguments)


class HTTPTests(OnSockets):
    def test_a_client_keeps_its_connection_over_many_requests(self) -> Any:
        async def run() -> None:
            port = await self.serve()

            def client() -> list[int]:
                with httpx.Client(base_url=f"http://127.0.0.1:{port}") as session:
                    return [session.get("/").status_code for _ in range(20)]

            self.assertEqual(await self.in_thread(client), [200] * 20)
            self.assertEqual(self.server.counts.connections, 1)

        return defer.ensureDeferred(run())

    def test_a_large_upload_arrives_whole(self) -> Any:
        body = bytes(range(256)) * 12_000

        async def run() -> None:
            port = await self.serve(lambda channel, message: None)

            def client() -> int:
                return httpx.post(f"http://127.0.0.1:{port}/", content=body).status_code

            answer = self.in_thread(client)
            answered = defer.ensureDeferred(answer)
            await self.until(lambda: self.site.named("http.request"))
            [request] = self.site.named("http.request")
            whole = [request["body"]]
            more = True
            while more:
                for delivery in await self.layer.receive([request["body_channel"]], limit=3):
                    whole.append(delivery.message["content"])
                    more = delivery.message["more_content"]
                    delivery.settle()
            self.layer.send(request["reply_channel"], {"status": 204, "headers": []})
            self.assertEqual(await answered, 204)
            self.assertEqual(b"".join(whole), body)

        return defer.ensureDeferred(run())

    def test_a_client_reads_why_its_upload_was_refused(self) -> Any:
        async def run() -> None:
            port = await self.serve(limits=Limits(body_bytes=1000, linger_timeout=30))

            def client() -> bytes:
                with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                    sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n")
                    for _ in range(100):
                        sock.sendall(b"x" * 80_000)
                    answer = b""
                    while data := sock.recv(65536):
                        answer += data
                    return answer

            self.assertTrue((await self.in_thread(client)).startswith(b"HTTP/1.1 413 "))

        return defer.ensureDeferred(run())

    def test_a_slow_reader_holds_its_own_stream_and_no_memory(self) -> Any:
        part = b"x" * 100_000

        async def run() -> None:
            port = await self.serve(
                lambda channel, message: (
                    [{"status": 200, "more_content": True}] if channel == "http.request" else None
                )
            )
            sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
            self.addCleanup(sock.close)
            await self.in_thread(sock.sendall, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await self.until(lambda: self.site.named("http.request"))
            channel = self.site.named("http.request")[0]["reply_channel"]
            settled = 0

            def landed(deliveries: Any) -> None:
                nonlocal settled
                settled += len(deliveries)
                again = self.layer.receive(["receipts?1"], limit=100)
                again.addCallbacks(landed, lambda failure: None)

            landed(())
            sent = 0
            # Well behaved, a worker has at most two parts unsettled; this one
            # goes on until the receipts stay away.
            stuck = 0
            while stuck < 20:
                if sent - settled < 2:
                    self.layer.send(channel, {"content": part, "more_content": True}, "receipts?1")
                    sent += 1
                    stuck = 0
                else:
                    stuck += 1
                await self.pause()
            self.assertLess(sent, 200)

            def read() -> int:
                total = 0
                while total < sent * len(part):
                    total += len(sock.recv(1 << 20))
                return total

            await self.in_thread(read)
            await self.until(lambda: settled == sent)

        return defer.ensureDeferred(run())

    def test_a_client_that_resets_is_told_of(self) -> Any:
        async def run() -> None:
            port = await self.serve(lambda channel, message: None)
            sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await self.until(lambda: self.site.named("http.request"))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00" * 2)
            sock.close()
            await self.until(lambda: self.site.named("http.disconnect"))
            self.assertEqual(self.server.counts.connections_open, 0)

        return defer.ensureDeferred(run())

    def test_a_unix_socket_serves_clients_without_an_address(self) -> Any:
        path = str(self.directory() / "socket")

        async def run() -> None:
            await self.serve(endpoint=f"unix:{path}")

            def client() -> int:
                transport = httpx.HTTPTransport(uds=path)
                with httpx.Client(transport=transport) as session:
                    return session.get("http://localhost/").status_code

            self.assertEqual(await self.in_thread(client), 200)
            [request] = self.site.named("http.request")
            self.assertIsNone(request["client"])
            self.assertIsNone(request["server"])

        return defer.ensureDeferred(run())


class WebSocketTests(OnSockets):
    def test_a_client_talks_and_closes(self) -> Any:
        async def run() -> None:
            port = await self.serve()

            def client() -> tuple[Any, ...]:
                with connect(f"ws://127.0.0.1:{port}/x?y") as sock:
                    sock.send("grüße")
                    first = sock.recv()
                    sock.send(b"\x00" * 300_000)
                    second = sock.recv()
                    sock.close(4001, "bye")
                    return first, second, sock.close_code

            self.assertEqual(await self.in_thread(client), ("grüße", b"\x00" * 300_000, 4001))
            await self.until(lambda: self.site.named("websocket.disconnect"))
            self.assertEqual(self.site.named("websocket.disconnect")[0]["code"], 4001)
            [event] = self.site.named("websocket.connect")
            self.assertEqual((event["path"], event["query_string"]), ("/x", b"y"))
            self.assertEqual(self.server.counts.connections_open, 0)

        return defer.ensureDeferred(run())

    def test_a_client_is_refused_with_403(self) -> Any:
        async def run() -> None:
            port = await self.serve(lambda channel, message: [{"accept": False}])

            def client() -> int:
                try:
                    with connect(f"ws://127.0.0.1:{port}/"):
                        return 101
                except websockets.InvalidStatus as refused:
                    return refused.response.status_code

            self.assertEqual(await self.in_thread(client), 403)

        return defer.ensureDeferred(run())

    def test_the_site_closes_with_its_code(self) -> Any:
        async def run() -> None:
            port = await self.serve(
                lambda channel, message: (
                    [{"text": "bye", "close": 4321}] if channel == "websocket.connect" else None
                )
            )

            def client() -> tuple[Any, ...]:
                with connect(f"ws://127.0.0.1:{port}/") as sock:
                    text = sock.recv()
                    try:
                        sock.recv()
                    except websockets.ConnectionClosed as closed:
                        return text, closed.rcvd.code if closed.rcvd else None
                return ()

            self.assertEqual(await self.in_thread(client), ("bye", 4321))

        return defer.ensureDeferred(run())

    def test_compression_works_with_a_real_client(self) -> Any:
        async def run() -> None:
            port = await self.serve(compression=True)

            def client() -> tuple[Any, ...]:
                with connect(f"ws://127.0.0.1:{port}/") as sock:
                    got = []
                    for number in range(5):
                        sock.send(f"hello {number} " * 1000)
                        got.append(sock.recv())
                    return tuple(got), bool(sock.protocol.extensions)

            texts = tuple(f"hello {number} " * 1000 for number in range(5))
            self.assertEqual(await self.in_thread(client), (texts, True))

        return defer.ensureDeferred(run())

    def test_a_socket_that_floods_and_never_reads_is_slowed_and_not_buffered(self) -> Any:
        async def run() -> None:
            port = await self.serve(
                lambda channel, message: {
                    "websocket.connect": [{"accept": True}],
                    "websocket.receive": [{"bytes": b"x" * 60_000}],
                }.get(channel)
            )
            sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
            self.addCleanup(sock.close)
            sock.sendall(HANDSHAKE + b"\r\n")
            sock.setblocking(False)
            quiet_since = time.monotonic()
            sent = 0
            # Echoes of 60 kB for each 10 bytes, and nobody reads them.
            while time.monotonic() - quiet_since < 1 and sent < 50_000_000:
                try:
                    sent += sock.send(b"\x82\x84\0\0\0\0ping" * 1000)
                    quiet_since = time.monotonic()
                except BlockingIOError:
                    pass
                await self.pause()
            self.assertLess(len(self.site.named("websocket.receive")), 400)
            self.assertEqual(self.server.counts.overflows, 0)

        return defer.ensureDeferred(run())


def certificate(directory: Path) -> Path:
    """A key and its own certificate for 127.0.0.1, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = directory / "cert.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


class TLSTests(OnSockets):
    def test_requests_and_sockets_over_tls_say_so(self) -> Any:
        path = certificate(self.directory())

        async def run() -> None:
            port = await self.serve(
                endpoint=f"ssl:0:interface=127.0.0.1:privateKey={path}:certKey={path}"
            )
            trust = ssl.create_default_context(cafile=str(path))

            def client() -> tuple[Any, ...]:
                status = httpx.get(f"https://127.0.0.1:{port}/", verify=trust).status_code
                with connect(f"wss://127.0.0.1:{port}/", ssl=trust) as sock:
                    sock.send("x" * 100_000)
                    return status, sock.recv()

            self.assertEqual(await self.in_thread(client), (200, "x" * 100_000))
            self.assertEqual(self.site.named("http.request")[0]["scheme"], "https")
            self.assertEqual(self.site.named("websocket.connect")[0]["scheme"], "wss")

        return defer.ensureDeferred(run())
