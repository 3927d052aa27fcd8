"""The configurations for nginx, read and run by nginx itself before a real site."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from tests.certificates import make_certificates
from tests.deploy import nginx
from tests.end_to_end.clients import Socket
from tests.end_to_end.garbage import HANDSHAKE
from tests.end_to_end.split import PATIENCE, Part
from tests.processes import free_port, launched, wait_until

ROOT = Path(__file__).resolve().parents[2]

FROM = "127.0.0.9"
"""The address that clients come from, so that it is told from the proxy's."""


@contextmanager
def folder() -> Iterator[Path]:
    """A folder with a short path, as those of sockets must be."""
    with TemporaryDirectory(prefix="cs-", dir="/tmp") as made:
        yield Path(made)


@contextmanager
def running(where: Path, name: str, command: list[str]) -> Iterator[Part]:
    """A server, until the block ends; its log goes to a file of its name."""
    with open(where / f"{name}.log", "wb") as output:
        environment = {"TEST_SITE_DIR": str(where), "XDG_RUNTIME_DIR": str(where)}
        part = Part(launched(command, output=output, cwd=ROOT, env=environment), output)
        try:
            yield part
        except BaseException:
            print(name, part.log()[-4000:])  # noqa: T201
            raise
        finally:
            part.stop()


def chanserv(settings: str, path: Path) -> list[str]:
    """The command of a site on a Unix socket behind a proxy."""
    return [
        "twistd", "-n", "--pidfile=", "chanserv", f"--settings={settings}", "--threads=2",
        f"--listen=unix:{path}", "--proxy-headers", "--access-log=-",
    ]  # fmt: skip


@asynccontextmanager
async def websocket(
    port: int, path: str, headers: str = "", host: str = "example.com", **options: Any
) -> AsyncIterator[Socket]:
    """An open WebSocket through the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    head = HANDSHAKE.replace(b"/chat/", path.encode()).removesuffix(b"\r\n")
    head = head.replace(b"Host: 127.0.0.1", b"Host: " + host.encode())
    writer.write(head + headers.encode() + b"\r\n")
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    try:
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        yield Socket(reader, writer)
    finally:
        writer.transport.abort()


async def said(socket: Socket) -> str:
    return await asyncio.wait_for(socket.receive(), PATIENCE)


@dataclass
class Proxied:
    """A site behind nginx that speaks TLS."""

    port: int
    authority: Path
    site: Part
    nginx: nginx.Nginx

    def tls(self) -> ssl.SSLContext:
        """What a client knows that trusts the site's authority; each has its own."""
        return ssl.create_default_context(cafile=str(self.authority))

    def client(self, **options: Any) -> httpx.Client:
        """A browser."""
        return httpx.Client(
            base_url=f"https://localhost:{self.port}",
            transport=httpx.HTTPTransport(verify=self.tls(), local_address=FROM, **options),
            timeout=PATIENCE,
        )


@pytest.fixture(scope="module")
def proxied() -> Iterator[Proxied]:
    with ExitStack() as stack:
        where = stack.enter_context(folder())
        files = make_certificates(where / "tls")
        plain, secure = free_port(), free_port()
        (where / "static").mkdir()
        (where / "static" / "a.txt").write_text("by nginx")
        nginx.write(
            where,
            "nginx.conf",
            {
                "listen 80;": f"listen 127.0.0.1:{plain};",
                "listen 443 ssl": f"listen 127.0.0.1:{secure} ssl",
                "example.com": "localhost",
                "/etc/ssl/mysite/fullchain.pem": str(files.cert),
                "/etc/ssl/mysite/key.pem": str(files.key),
                "/run/mysite/web.sock": f"{where}/web.sock",
                "/srv/mysite/static/": f"{where}/static/",
            },
        )
        assert "[warn]" not in nginx.check(where).replace('"listen ... http2"', "")
        site = stack.enter_context(
            running(where, "site", chanserv("tests.site.settings", where / "web.sock"))
        )
        proxy = stack.enter_context(nginx.running(where))
        site.wait_until_ready()
        yield Proxied(secure, files.ca, site, proxy)


async def heard(socket: Socket, text: str) -> None:
    """Wait for a message, whatever comes before it."""
    while await said(socket) != text:
        pass


class TestBeforeTheSite:
    """C{nginx.conf}."""

    def test_the_site_knows_the_client(self, proxied: Proxied) -> None:
        forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http"}
        with proxied.client() as client:
            answer = client.get("/about-request/", headers=forged).json()
        assert answer["META"]["REMOTE_ADDR"] == FROM
        assert answer["secure"]
        assert answer["uri"] == f"https://localhost:{proxied.port}/about-request/"
        wait_until(lambda: f"\n{FROM} - - " in proxied.site.log(), PATIENCE)

    def test_both_logs_have_the_same_name_of_a_request(self, proxied: Proxied) -> None:
        with proxied.client() as client:
            answer = client.get("/about-request/?named")
        name = answer.headers["X-Request-ID"]
        assert answer.json()["headers"]["X-Request-Id"] == name
        access = proxied.nginx.folder / "nginx-access.log"
        wait_until(lambda: f"unix:{proxied.nginx.folder}/web.sock {name}" in access.read_text())
        wait_until(lambda: f'"{name}"' in proxied.site.log(), PATIENCE)

    def test_connections_to_the_site_are_kept(self, proxied: Proxied) -> None:
        with proxied.client(http2=True) as client:
            assert {client.get("/").text for _ in range(20)} == {"hello"}
            assert client.get("/").http_version == "HTTP/2"

    def test_sockets_pass(self, proxied: Proxied) -> None:
        async def run() -> None:
            options = {"ssl": proxied.tls(), "server_hostname": "localhost"}
            async with websocket(proxied.port, "/echo/", **options) as socket:
                socket.send("hello")
                assert await said(socket) == "hello"

        asyncio.run(run())

    def test_static_files_are_nginxs_own(self, proxied: Proxied) -> None:
        with proxied.client() as client:
            assert client.get("/static/a.txt").text == "by nginx"


@dataclass
class Beside:
    """
    One site in two servers behind nginx.

    @ivar port: nginx's.
    """

    port: int
    nginx: nginx.Nginx

    def client(self, host: str) -> httpx.Client:
        """A browser that asks for one of the two names."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers={"Host": host}, timeout=PATIENCE
        )

    def went_to(self, path: str) -> str:
        """The server that the last request for a path went to."""
        return {"web.sock": "chanserv", "wsgi.sock": "gunicorn"}[
            self.nginx.server_of(path).rpartition("/")[2]
        ]


@pytest.fixture(scope="module")
def beside() -> Iterator[Beside]:
    with ExitStack() as stack:
        where = stack.enter_context(folder())
        os.chmod(where, 0o700)
        port = free_port()
        nginx.write(
            where,
            "nginx-beside-wsgi.conf",
            {
                "listen 80;": f"listen 127.0.0.1:{port};",
                "/run/mysite/wsgi.sock": f"{where}/wsgi.sock",
                "/run/mysite/web.sock": f"{where}/web.sock",
                "location /events/": "location /ticks/",
                "location /reports/": "location /who-am-i/",
            },
        )
        nginx.check(where)
        settings = "tests.deploy.beside_wsgi.settings"
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "--verbosity=0", f"--settings={settings}"],
            cwd=ROOT,
            env={**os.environ, "TEST_SITE_DIR": str(where), "PYTHONPATH": str(ROOT)},
            check=True,
            timeout=PATIENCE,
        )
        site = stack.enter_context(running(where, "site", chanserv(settings, where / "web.sock")))
        stack.enter_context(
            running(
                where,
                "gunicorn",
                ["gunicorn", f"--bind=unix:{where}/wsgi.sock", "--workers=2",
                 "tests.deploy.beside_wsgi.wsgi"],
            )
        )  # fmt: skip
        proxy = stack.enter_context(nginx.running(where))
        site.wait_until_ready()
        wait_until(lambda: (where / "wsgi.sock").exists(), PATIENCE)
        yield Beside(port, proxy)


class TestBesideWSGI:
    """C{nginx-beside-wsgi.conf}."""

    def test_requests_go_by_path_and_sockets_by_their_header(self, beside: Beside) -> None:
        with beside.client("example.com") as client:
            assert client.get("/page/?1").status_code == 200
            assert beside.went_to("/page/?1") == "gunicorn"
            with client.stream("GET", "/ticks/?1") as stream:
                assert next(stream.iter_text()).startswith("tick 0")
        assert beside.went_to("/ticks/?1") == "chanserv"

    def test_and_the_other_way_round(self, beside: Beside) -> None:
        with beside.client("other.example.com") as client:
            assert client.get("/page/?2").status_code == 200
            assert beside.went_to("/page/?2") == "chanserv"
            assert client.get("/who-am-i/?2").text == "nobody"
            assert beside.went_to("/who-am-i/?2") == "gunicorn"

    def test_who_logs_in_at_one_is_known_at_the_other(self, beside: Beside) -> None:
        with beside.client("other.example.com") as client:
            client.get("/log-in/bob/")
            assert beside.went_to("/log-in/bob/") == "chanserv"
            assert client.get("/who-am-i/?3").text == "bob"
            assert beside.went_to("/who-am-i/?3") == "gunicorn"

    @pytest.mark.parametrize("host", ["example.com", "other.example.com"])
    def test_a_socket_knows_who_has_logged_in(self, beside: Beside, host: str) -> None:
        with beside.client(host) as client:
            client.get("/log-in/ann/")
            session = client.cookies["sessionid"]
        by = "gunicorn" if host == "example.com" else "chanserv"
        assert beside.went_to("/log-in/ann/") == by

        async def run() -> None:
            headers = f"Cookie: sessionid={session}\r\n"
            async with websocket(beside.port, "/user/", headers, host) as socket:
                assert await said(socket) == "ann"
                socket.send("who")
                assert await said(socket) == "ann"

        asyncio.run(run())

    def test_a_view_at_gunicorn_reaches_the_sockets_of_a_group(self, beside: Beside) -> None:
        async def run() -> None:
            async with (
                websocket(beside.port, "/rooms/den/") as one,
                websocket(beside.port, "/rooms/den/") as other,
            ):
                for socket in (one, other):  # whose answer comes when it has joined
                    socket.send("here")
                    await heard(socket, "den: here")
                await asyncio.to_thread(tell)
                for socket in (one, other):
                    await heard(socket, "news")

        def tell() -> None:
            with beside.client("example.com") as client:
                answer = client.get("/tell-group/room-den/", params={"text": "news"})
                assert answer.text == "sent"
            assert beside.went_to("/tell-group/room-den/?text=news") == "gunicorn"

        asyncio.run(run())
