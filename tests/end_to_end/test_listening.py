"""Every kind of endpoint, with real clients: one process that listens on all of them."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from tests.certificates import Certificates, make_certificates
from tests.end_to_end.split import PATIENCE, Part
from tests.processes import Served, free_port, launched, script, served, wait_until
from tests.server.test_proxy_line import V1, V2

ROOT = Path(__file__).resolve().parents[2]
CHANSERV = ("chanserv", "--settings=tests.site.settings", "--threads=2")


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@dataclass
class Everywhere:
    """
    The server, and where it listens.

    @ivar ports: by the kind of endpoint.
    """

    server: Served
    folder: Path
    ports: dict[str, int]
    files: Certificates

    @property
    def path(self) -> Path:
        """Of its Unix socket."""
        return self.folder / "web.sock"

    def trusting(self) -> ssl.SSLContext:
        """What a client knows that trusts the server's authority."""
        return ssl.create_default_context(cafile=str(self.files.ca))

    def connect(self, kind: str) -> socket.socket:
        """A connection to one of the TCP ports."""
        return socket.create_connection(("127.0.0.1", self.ports[kind]), timeout=PATIENCE)


@pytest.fixture(scope="module")
def everywhere() -> Iterator[Everywhere]:
    with TemporaryDirectory(prefix="cs-", dir="/tmp") as made:
        folder = Path(made)
        files = make_certificates(folder / "tls")
        names = folder / "names"
        names.mkdir()
        (names / "localhost.pem").write_bytes(files.key.read_bytes() + files.cert.read_bytes())
        full = folder / "fullchain.pem"
        full.write_bytes(files.cert.read_bytes() + files.ca.read_bytes())
        ports = {kind: free_port() for kind in ("tcp", "tcp6", "ssl", "tls", "line", "line-tls")}
        keys = f"privateKey={files.key}:certKey={full}:interface=127.0.0.1"
        endpoints = [
            f"tcp:{ports['tcp']}:interface=127.0.0.1",
            f"unix:{folder}/web.sock:mode=600",
            f"ssl:{ports['ssl']}:{keys}",
            f"tls:{names}:port={ports['tls']}:interface=127.0.0.1",
            f"haproxy:tcp:{ports['line']}:interface=127.0.0.1",
            f"haproxy:ssl:{ports['line-tls']}:{keys}",
        ]
        if has_ipv6():
            endpoints.append(rf"tcp6:{ports['tcp6']}:interface=\:\:1")
        command = ["twistd", "-n", "--pidfile=", *CHANSERV, "--proxy-headers"]
        with served(
            [*command, f"--access-log={folder}/access.log", *map("--listen={}".format, endpoints)],
            port=ports["tcp"],
            cwd=ROOT,
            env={"TEST_SITE_DIR": made},
        ) as server:
            wait_until(lambda: " is ready: " in server.log(), PATIENCE)
            yield Everywhere(server, folder, ports, files)
            assert server.stop() in (0, -signal.SIGTERM)
            assert not (folder / "web.sock").exists()


def told(response: httpx.Response) -> dict[str, Any]:
    """What the site says of a request."""
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def ask(connection: socket.socket, headers: bytes = b"") -> httpx.Response:
    """Ask the site about this request, and read to the end."""
    connection.sendall(
        b"GET /about-request/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        + headers
        + b"\r\n"
    )
    data = b""
    while part := connection.recv(65536):
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    return httpx.Response(int(head.split()[1]), content=body)


class TestEndpoints:
    def test_the_start_line_names_each_as_a_url_where_it_is_one(
        self, everywhere: Everywhere
    ) -> None:
        log, ports = everywhere.server.log(), everywhere.ports
        (line,) = (line for line in log.splitlines() if " is ready: " in line)
        places = [
            f"http://127.0.0.1:{ports['tcp']}/",
            f"unix:{everywhere.path}",
            f"https://127.0.0.1:{ports['ssl']}/",
            f"https://127.0.0.1:{ports['tls']}/",
            f"http://127.0.0.1:{ports['line']}/",
            f"https://127.0.0.1:{ports['line-tls']}/",
        ]
        if has_ipv6():
            places.append(f"http://[::1]:{ports['tcp6']}/")
        assert line.endswith(", at " + " and ".join(places))

    def test_tcp(self, everywhere: Everywhere) -> None:
        with everywhere.connect("tcp") as connection:
            meta = told(ask(connection))["META"]
        assert meta["REMOTE_ADDR"] == "127.0.0.1"
        assert meta["SERVER_PORT"] == str(everywhere.ports["tcp"])

    @pytest.mark.skipif(not has_ipv6(), reason="this system has no IPv6")
    def test_ipv6(self, everywhere: Everywhere) -> None:
        answer = told(httpx.get(f"http://[::1]:{everywhere.ports['tcp6']}/about-request/"))
        assert answer["META"]["REMOTE_ADDR"] == "::1"

    def test_a_unix_socket_with_its_mode(self, everywhere: Everywhere) -> None:
        assert stat.S_IMODE(everywhere.path.stat().st_mode) == 0o600
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(everywhere.path))) as client:
            answer = told(client.get("http://localhost/about-request/"))
            assert not answer["META"].get("REMOTE_ADDR")
            # Who comes by a Unix socket is trusted unless something else is said.
            headers = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https"}
            answer = told(client.get("http://localhost/about-request/", headers=headers))
        assert answer["META"]["REMOTE_ADDR"] == "198.51.100.7"
        assert answer["secure"]

    @pytest.mark.parametrize("kind", ["ssl", "tls"])
    def test_tls_with_the_chain_of_the_certificate(self, everywhere: Everywhere, kind: str) -> None:
        url = f"https://localhost:{everywhere.ports[kind]}/about-request/"
        assert told(httpx.get(url, verify=everywhere.trusting()))["secure"]

    @pytest.mark.parametrize("line", [V1, V2], ids=["version 1", "version 2"])
    def test_the_proxy_protocol(self, everywhere: Everywhere, line: bytes) -> None:
        with everywhere.connect("line") as connection:
            connection.sendall(line)
            assert told(ask(connection))["META"]["REMOTE_ADDR"] == "198.51.100.7"

    def test_a_health_check_of_the_proxy_speaks_for_itself(self, everywhere: Everywhere) -> None:
        with everywhere.connect("line") as connection:
            connection.sendall(V2[:12] + struct.pack("!BBH", 0x20, 0, 0))
            assert told(ask(connection))["META"]["REMOTE_ADDR"] == "127.0.0.1"

    def test_the_line_comes_before_tls(self, everywhere: Everywhere) -> None:
        with everywhere.connect("line-tls") as connection:
            connection.sendall(V1)
            with everywhere.trusting().wrap_socket(connection, server_hostname="localhost") as tls:
                answer = told(ask(tls))
        assert answer["secure"]
        assert answer["META"]["REMOTE_ADDR"] == "198.51.100.7"

    def test_without_the_line_a_connection_is_closed(self, everywhere: Everywhere) -> None:
        with everywhere.connect("line") as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                assert connection.recv(1024) == b""
            except ConnectionResetError:
                pass
        wait_until(lambda: "which must begin with the line" in everywhere.server.log(), PATIENCE)

    def test_what_proxies_say_is_in_the_message_and_the_log(self, everywhere: Everywhere) -> None:
        with everywhere.connect("tcp") as connection:
            headers = b"X-Forwarded-For: 6.6.6.6, 203.0.113.5:77\r\nX-Forwarded-Proto: https\r\n"
            answer = told(ask(connection, headers))
        assert answer["META"]["REMOTE_ADDR"] == "203.0.113.5"
        assert answer["uri"] == "https://localhost/about-request/"
        log = everywhere.folder / "access.log"
        wait_until(lambda: "\n203.0.113.5 - - " in "\n" + log.read_text(), PATIENCE)

    def test_it_is_so_with_http2(self, everywhere: Everywhere) -> None:
        headers = {"X-Forwarded-For": "203.0.113.6", "X-Request-ID": "over/http2"}
        with httpx.Client(http2=True, verify=everywhere.trusting()) as client:
            url = f"https://localhost:{everywhere.ports['ssl']}/about-request/"
            response = client.get(url, headers=headers)
        assert response.http_version == "HTTP/2"
        assert told(response)["META"]["REMOTE_ADDR"] == "203.0.113.6"
        assert response.headers["X-Request-ID"] == "over/http2"
        assert response.json()["headers"]["X-Request-Id"] == "over/http2"

    def test_the_client_that_a_line_names_is_no_trusted_proxy(self, everywhere: Everywhere) -> None:
        with everywhere.connect("line") as connection:
            connection.sendall(V1)
            answer = told(ask(connection, b"X-Forwarded-For: 6.6.6.6\r\n"))
        assert answer["META"]["REMOTE_ADDR"] == "198.51.100.7"
        assert answer["META"]["HTTP_X_FORWARDED_FOR"] == "6.6.6.6"


PASS_SOCKETS = """
import os, sys
for place, descriptor in enumerate(sys.argv[2].split(",")):
    os.dup2(int(descriptor), 3 + place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="web:local")
os.execv(sys.argv[1], sys.argv[1:2] + sys.argv[3:])
"""
"""What systemd does to start a service with its sockets."""


class Lent:
    """Two listening sockets, as systemd holds them for a service."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lent.sock"
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.tcp.getsockname()[1])
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(self.path))
        self.path.chmod(0o600)
        self.unix.listen()

    def start(self, output: Any, *command: str) -> Part:
        """Start a command that is passed them."""
        # Away from the numbers that they are to get, whatever is open here.
        numbers = [os.dup(one.fileno()) for one in (self.tcp, self.unix)]
        moved = [number + 40 for number in numbers]
        for number, to in zip(numbers, moved, strict=True):
            os.dup2(number, to)
            os.close(number)
        descriptors = ",".join(map(str, moved))
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", PASS_SOCKETS, script(command[0]), descriptors, *command[1:]],
                cwd=ROOT,
                env={**os.environ, "TEST_SITE_DIR": str(self.path.parent)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=moved,
            )
        finally:
            for to in moved:
                os.close(to)
        return Part(process, output)

    def close(self) -> None:
        self.tcp.close()
        self.unix.close()

    def answer(self) -> str:
        """The site's, by TCP."""
        return httpx.get(f"http://127.0.0.1:{self.port}/", timeout=PATIENCE).text

    def local_answer(self) -> str:
        """The same by the Unix socket."""
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.path)), timeout=PATIENCE
        ) as client:
            return client.get("http://localhost/").text


@pytest.mark.parametrize(
    "options",
    [
        ("--listen=systemd:domain=INET:name=web", "--listen=systemd:domain=UNIX:index=1"),
        ("--fd=3", "--listen=fd:4"),
    ],
    ids=["systemd", "descriptors"],
)
def test_sockets_that_it_was_started_with_stay_their_owners(
    options: tuple[str, ...],
) -> None:
    with (
        TemporaryDirectory(prefix="cs-", dir="/tmp") as made,
        closing(Lent(Path(made))) as lent,
        open(Path(made) / "log", "w+b") as output,
    ):
        part = lent.start(output, "twistd", "-n", "--pidfile=", *CHANSERV, *options)
        try:
            part.wait_until_ready()
            for url in (f"http://127.0.0.1:{lent.port}/", f"unix:{lent.path}"):
                assert url in part.log()
            assert lent.answer() == lent.local_answer() == "hello"
        finally:
            part.stop()
        # The next process finds them as they were, and clients wait for it meanwhile.
        assert stat.S_IMODE(lent.path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            assert client.connect_ex(str(lent.path)) == 0
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", lent.port)) == 0


UNPRIVILEGED = 65534


def may_import_as(uid: int) -> bool:
    """Whether this tree and its Python can be read by another user."""
    try:
        result = subprocess.run(
            [sys.executable, "-c", "import chanserv.service, tests.site.settings"],
            cwd=ROOT,
            user=uid,
            group=uid,
            capture_output=True,
            timeout=PATIENCE,
        )
    except OSError:
        return False
    return result.returncode == 0


def privileged_port() -> int:
    """A free port that only root may listen on."""
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if not probe_fails(probe, port):
                return port
    raise AssertionError("no port below 1024 is free")


def probe_fails(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return True
    return False


@pytest.mark.skipif(os.getuid() != 0, reason="only root may change users")
def test_a_daemon_listens_as_root_and_serves_as_somebody_else() -> None:
    if not may_import_as(UNPRIVILEGED):
        pytest.skip("another user may not read this tree")
    with TemporaryDirectory(prefix="cs-", dir="/tmp") as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "site").mkdir()
        os.chown(folder / "site", UNPRIVILEGED, UNPRIVILEGED)
        files = make_certificates(folder / "tls")  # readable for root alone
        files.key.chmod(0o600)
        port, tls = privileged_port(), free_port()
        pidfile, log = folder / "daemon.pid", folder / "daemon.log"
        started = subprocess.run(
            [
                script("twistd"), f"--pidfile={pidfile}", f"--logfile={log}", f"--rundir={ROOT}",
                f"--uid={UNPRIVILEGED}", f"--gid={UNPRIVILEGED}", *CHANSERV,
                f"--listen=tcp:{port}:interface=127.0.0.1",
                f"--listen=ssl:{tls}:privateKey={files.key}:certKey={files.cert}",
                f"--listen=unix:{folder}/web.sock:mode=660",
            ],
            cwd=ROOT,
            env={**os.environ, "TEST_SITE_DIR": str(folder / "site")},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )  # fmt: skip
        assert started.returncode == 0, started.stderr
        wait_until(lambda: pidfile.exists() and pidfile.read_text(), PATIENCE)
        pid = int(pidfile.read_text())
        try:
            wait_until(lambda: log.exists() and " is ready: " in log.read_text(), PATIENCE)
            assert os.stat(f"/proc/{pid}").st_uid == UNPRIVILEGED
            assert httpx.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE).text == "hello"
            trusting = ssl.create_default_context(cafile=str(files.ca))
            url = f"https://localhost:{tls}/"
            assert httpx.get(url, verify=trusting, timeout=PATIENCE).text == "hello"
        finally:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not Path(f"/proc/{pid}").exists(), PATIENCE)
        # It may not remove what root has made in a folder of root's, and says so.
        assert f"The socket {folder}/web.sock stays where it is" in log.read_text()
        assert "Traceback" not in log.read_text()


def test_a_socket_that_a_killed_server_left_is_no_obstacle() -> None:
    with TemporaryDirectory(prefix="cs-", dir="/tmp") as made:
        path = Path(made) / "web.sock"
        command = ("twistd", "-n", "--pidfile=", *CHANSERV, f"--listen=unix:{path}")
        for how in (signal.SIGKILL, signal.SIGTERM):
            with open(Path(made) / f"log-{how}", "w+b") as output:
                process = launched(command, output=output, cwd=ROOT, env={"TEST_SITE_DIR": made})
                part = Part(process, output)
                try:
                    part.wait_until_ready()
                    with socket.socket(socket.AF_UNIX) as client:
                        client.connect(str(path))
                finally:
                    process.send_signal(how)
                    process.wait(PATIENCE)
            assert path.exists() == (how == signal.SIGKILL)
