"""HTTP/2 with a whole server, over TLS and without, and the clients that people use."""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from playwright.sync_api import sync_playwright

from tests.certificates import Certificates, make_certificates
from tests.demo.conftest import FLAGS, chromium_path
from tests.end_to_end.conftest import Start
from tests.processes import Served, free_port, wait_until

MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Site:
    """A server that listens with TLS and without."""

    server: Served
    tls_port: int
    certificates: Certificates

    @property
    def plain(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def secure(self) -> str:
        return f"https://127.0.0.1:{self.tls_port}"

    def notes(self) -> str:
        """What consumers and views have noted."""
        return curl("--http2-prior-knowledge", f"{self.plain}/notes/")


@pytest.fixture(scope="module")
def site(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> Site:
    certificates = make_certificates(tmp_path_factory.mktemp("certificates"))
    port = free_port()
    server = start_for_module(
        "--threads=4",
        f"--listen=ssl:{port}:interface=127.0.0.1:privateKey={certificates.key}"
        f":certKey={certificates.cert}",
    )
    return Site(server, port, certificates)


def run(program: str, *arguments: object) -> str:
    """What a program writes."""
    found = shutil.which(program)
    assert found, f"these tests need {program}: make programs"
    done = subprocess.run(
        [found, *map(str, arguments)], capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def curl(*arguments: object) -> str:
    return run("curl", "--silent", "--show-error", "--max-time", 60, *arguments)


SEEN = "%{http_version} %{response_code} %{size_download}"


def test_curl_speaks_it_with_prior_knowledge(site: Site) -> None:
    answer = curl("--http2-prior-knowledge", "--write-out", " " + SEEN, site.plain + "/")
    assert answer == "hello 2 200 5"


@pytest.mark.parametrize(("option", "version"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_curl_agrees_with_the_server_by_alpn(site: Site, option: str, version: str) -> None:
    answer = curl(
        option, "--cacert", site.certificates.ca, "--write-out", " " + SEEN, site.secure + "/"
    )
    assert answer == f"hello {version} 200 5"


def test_a_client_that_asks_for_nothing_gets_http1(site: Site) -> None:
    answer = curl(
        "--no-alpn", "--cacert", site.certificates.ca, "--write-out", " " + SEEN, site.secure + "/"
    )
    assert answer == "hello 1.1 200 5"


def test_the_dance_of_an_upgrade_is_answered_as_http1(site: Site) -> None:
    assert curl("--http2", "--write-out", " " + SEEN, site.plain + "/") == "hello 1.1 200 5"


@pytest.mark.parametrize("size", [10, 5 * MEGABYTE])
def test_an_upload_arrives_whole(site: Site, tmp_path: Path, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "body").write_bytes(body)
    answer = curl(
        "--http2", "--cacert", site.certificates.ca, "--data-binary", f"@{tmp_path / 'body'}",
        site.secure + "/digest/",
    )  # fmt: skip
    assert answer == hashlib.sha256(body).hexdigest()


def test_a_download_arrives_whole(site: Site) -> None:
    seen = curl(
        "--http2", "--cacert", site.certificates.ca, "--output", "/dev/null",
        "--write-out", SEEN, site.secure + "/stream/20/",
    )  # fmt: skip
    assert seen == f"2 200 {20 * MEGABYTE}"


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_h2load_has_a_hundred_streams_of_one_connection(site: Site, secure: bool) -> None:
    url = site.secure if secure else site.plain
    report = run("h2load", "-n", 600, "-c", 1, "-m", 100, url + "/")
    assert "600 total, 600 started, 600 done, 600 succeeded, 0 failed" in report, report
    assert "600 2xx" in report


# A client that can do what real ones do not


@dataclass
class Answer:
    """What has come on one stream."""

    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None


class Browserlike:
    """
    One connection, on a socket that blocks.

    @ivar unread: streams whose window is not opened again.
    @ivar goaways: how often the server has said that it leaves.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.h2 = H2Connection(H2Configuration(client_side=True))
        self.h2.initiate_connection()
        # Streams keep the usual window; the connection does not hold them up.
        self.h2.increment_flow_control_window(64 * MEGABYTE)
        self.answers: dict[int, Answer] = {}
        self.unread: set[int] = set()
        self.rest = b""
        self.goaways = 0

    def get(self, path: str) -> int:
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(
            number,
            [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "localhost"),
                (":path", path),
            ],
            end_stream=True,
        )
        self.answers[number] = Answer()
        return number

    def until(self, *numbers: int) -> None:
        """Read on until these streams have ended."""
        self.flush()
        while not all(
            self.answers[number].ended or self.answers[number].reset is not None
            for number in numbers
        ):
            self.read()

    def read(self) -> None:
        self.flush()
        data = self.socket.recv(65_536)
        assert data, "the server has closed the connection"
        for event in self.h2.receive_data(self._without_goaways(data)):
            match event:
                case ResponseReceived():
                    headers = dict(event.headers)
                    self.answers[event.stream_id].status = int(headers[b":status"])
                case DataReceived():
                    self.answers[event.stream_id].body += event.data
                    if event.stream_id not in self.unread and event.flow_controlled_length:
                        self.h2.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id
                        )
                case StreamEnded():
                    self.answers[event.stream_id].ended = True
                case StreamReset():
                    self.answers[event.stream_id].reset = int(event.error_code)
                case _:
                    pass
        self.flush()

    def _without_goaways(self, data: bytes) -> bytes:
        """
        All whole frames but those that say that the server leaves, after which the
        library would take nothing more.
        """
        data = self.rest + data
        frames = b""
        while len(data) >= 9 and len(data) >= (size := 9 + int.from_bytes(data[:3], "big")):
            if data[3] == 7:
                self.goaways += 1
            else:
                frames += data[:size]
            data = data[size:]
        self.rest = data
        return frames

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.socket.sendall(data)


@contextmanager
def browserlike(server: Served) -> Iterator[Browserlike]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        yield Browserlike(connection)


def test_a_hundred_requests_at_once_get_each_its_own_answer(site: Site) -> None:
    with browserlike(site.server) as client:
        numbers = {client.get(f"/about/{n}"): n for n in range(100)}
        client.until(*numbers)
        for number, n in numbers.items():
            assert client.answers[number].status == 200
            assert f'"path": "/about/{n}"'.encode() in client.answers[number].body


def test_a_stream_that_is_not_read_does_not_hold_the_others(site: Site) -> None:
    with browserlike(site.server) as client:
        slow = client.get("/stream/8/")
        client.unread.add(slow)
        while len(client.answers[slow].body) < 65_535:
            client.read()
        for _ in range(3):
            others = [client.get("/file/1/") for _ in range(10)]
            client.until(*others)
            assert {len(client.answers[number].body) for number in others} == {MEGABYTE}
        assert len(client.answers[slow].body) == 65_535
        client.unread.clear()
        client.h2.increment_flow_control_window(16 * MEGABYTE, slow)
        client.until(slow)
        assert len(client.answers[slow].body) == 8 * MEGABYTE


def test_a_view_hears_that_its_client_took_the_request_back(site: Site) -> None:
    with browserlike(site.server) as client:
        number = client.get("/ticks/")
        while not client.answers[number].body:
            client.read()
        assert "ticks closed" not in site.notes()
        client.h2.reset_stream(number, ErrorCodes.CANCEL)
        other = client.get("/")
        client.until(other)
        wait_until(lambda: "ticks closed" in site.notes(), 60)


def test_a_client_that_does_not_speak_it_is_told_so(site: Site) -> None:
    """After ALPN as before: what follows is not looked at."""
    context = ssl.create_default_context(cafile=str(site.certificates.ca))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", site.tls_port), timeout=60) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as secure,
    ):
        assert secure.selected_alpn_protocol() == "h2"
        secure.sendall(b"GET /\xff HTTP/1.1\r\n\r\n")
        assert b" 400 " in secure.recv(65_536)


def test_a_stop_loses_no_request_that_was_taken(start: Start) -> None:
    server = start("--threads=9", "--drain=1", "--drain-timeout=60")
    with browserlike(server) as client:
        first = client.get("/")
        client.until(first)
        numbers = [client.get("/slow/1500/") for _ in range(8)]
        client.flush()
        # One more that is answered at once shows that those before it have arrived.
        client.until(client.get("/status/404/"))
        server.process.send_signal(signal.SIGTERM)
        late = [client.get("/") for _ in range(20)]
        client.until(*numbers, *late)
        assert [client.answers[number].status for number in numbers] == [200] * 8
        for number in late:
            # Refused is: never looked at, and to be sent elsewhere.
            answer = client.answers[number]
            assert answer.status == 200 or answer.reset == ErrorCodes.REFUSED_STREAM
        while not client.goaways:
            client.read()
    assert server.stop() in (0, -signal.SIGTERM)


@pytest.mark.browser
def test_a_page_over_http2_opens_a_websocket_beside_it(site: Site) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        try:
            page = browser.new_context(ignore_https_errors=True).new_page()
            page.goto(site.secure + "/")
            protocol = page.evaluate(
                "performance.getEntriesByType('navigation')[0].nextHopProtocol"
            )
            said = page.evaluate(
                """() => new Promise((resolve, reject) => {
                    const socket = new WebSocket(`wss://${location.host}/echo/`);
                    socket.onopen = () => socket.send("beside HTTP/2");
                    socket.onmessage = (event) => resolve(event.data);
                    socket.onerror = () => reject("the WebSocket failed");
                })"""
            )
        finally:
            browser.close()
    assert protocol == "h2"
    assert said == "beside HTTP/2"


def test_the_access_log_names_the_version(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    server = start(f"--access-log={log}", "--threads=1")
    curl("--http2-prior-knowledge", f"http://127.0.0.1:{server.port}/a?b=c")
    wait_until(lambda: log.read_text(), 60)
    assert re.search(r'"GET /a\?b=c HTTP/2\.0" 404 ', log.read_text())
