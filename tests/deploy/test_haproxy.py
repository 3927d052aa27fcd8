"""The configuration for HAProxy, read and run by HAProxy itself before a real site."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import Certificates, make_certificates
from tests.deploy.files import adapted
from tests.end_to_end.clients import Socket
from tests.end_to_end.garbage import HANDSHAKE
from tests.end_to_end.split import PATIENCE, eventually
from tests.processes import Served, free_port, served
from tests.programs import program

SITE = Path(__file__).resolve().parents[1] / "end_to_end"

FROM = "127.0.0.9"
"""The address that clients come from, so that it is told from the proxy's."""


@dataclass
class Proxied:
    """
    A site behind HAProxy.

    @ivar plain: the proxy's port for HTTP.
    @ivar secure: its port for HTTPS.
    """

    site: Served
    plain: int
    secure: int
    log: Path
    tls: ssl.SSLContext

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection over TLS."""
        return await asyncio.open_connection(
            "127.0.0.1", self.secure, ssl=self.tls, local_addr=(FROM, 0)
        )

    async def get(self, path: str) -> bytes:
        """The whole answer to a GET over HTTPS."""
        reader, writer = await self.open()
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
        )
        try:
            return await reader.read()
        finally:
            writer.close()

    def said(self) -> str:
        """What HAProxy has said of its servers."""
        return self.log.read_text(errors="replace")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@contextmanager
def proxied(folder: Path, pair: Certificates) -> Iterator[Proxied]:
    haproxy = program("haproxy")
    (folder / "mysite.pem").write_text(pair.cert.read_text() + pair.key.read_text())
    port, metrics, plain, secure = (free_port() for _ in range(4))
    nobody = free_port()
    configuration = folder / "haproxy.cfg"
    configuration.write_text(
        adapted(
            "haproxy.cfg",
            {
                "/etc/haproxy/mysite.pem": str(folder / "mysite.pem"),
                "bind :80\n": f"bind 127.0.0.1:{plain}\n",
                "bind :443 ": f"bind 127.0.0.1:{secure} ",
                "maxconn 50000": "maxconn 200",
                "check port 9100 inter 2s": f"check port {metrics} inter 200ms",
                "10.0.0.11:8000": f"127.0.0.1:{port}",
                "10.0.0.12:8000": f"127.0.0.1:{nobody} port {nobody}",
            },
        )
    )
    with ExitStack() as stack:
        site = stack.enter_context(
            served(
                [
                    *("twistd", "-n", "--pidfile=", "chanserv"),
                    "--settings=site_under_test.settings",
                    f"--listen=haproxy:tcp:{port}:interface=127.0.0.1",
                    f"--metrics=tcp:{metrics}:interface=127.0.0.1",
                    "--access-log=-",
                ],
                port=port,
                cwd=SITE,
            )
        )
        output = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".log"))
        process = subprocess.Popen(
            [haproxy.path, "-db", "-f", str(configuration)],
            env={**os.environ, **haproxy.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        tls = ssl.create_default_context(cafile=str(pair.ca))
        made = Proxied(site, plain, secure, Path(output.name), tls)
        try:
            yield made
        except BaseException:
            print(made.said(), site.log())  # noqa: T201
            raise
        finally:
            process.terminate()
            process.wait()


def test_haproxy_has_nothing_against_the_file(tmp_path: Path, pair: Certificates) -> None:
    haproxy = program("haproxy")
    together = tmp_path / "mysite.pem"
    together.write_text(pair.cert.read_text() + pair.key.read_text())
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(
        adapted("haproxy.cfg", {"/etc/haproxy/mysite.pem": str(together), "50000": "200"})
    )
    done = subprocess.run(
        [haproxy.path, "-c", "-f", str(configuration)],
        env={**os.environ, **haproxy.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, done.stderr


def test_requests_and_sockets_pass_and_a_server_that_is_not_ready_gets_none(
    tmp_path: Path, pair: Certificates
) -> None:
    async def visit(behind: Proxied) -> None:
        # Nobody is there at the second address: its checks fail, and those of the first do not.
        await eventually("a check has failed", lambda: "chanserv/front2 is DOWN" in behind.said())
        for _ in range(10):
            assert (await behind.get("/")).endswith(b"hello")
        assert "chanserv/front1 is DOWN" not in behind.said()

        about = await behind.get("/about/")
        assert b'"HTTP_X_FORWARDED_PROTO": "https"' in about

        reader, writer = await behind.open()
        writer.write(HANDSHAKE)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        ws = Socket(reader, writer)
        await ws.echo("through the proxy")

        # The first line of each connection has told whose it is.
        def clients() -> list[str]:
            return re.findall(r"^(\S+) - ", behind.site.log(), re.MULTILINE)

        await eventually("the access log has them", clients)
        assert set(clients()) == {FROM}

        plain_reader, plain_writer = await asyncio.open_connection("127.0.0.1", behind.plain)
        plain_writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert b"https://127.0.0.1/" in await plain_reader.read()
        plain_writer.close()
        ws.close()

        behind.site.process.terminate()
        await eventually("it is down", lambda: "chanserv/front1 is DOWN" in behind.said())
        assert (await behind.get("/")).startswith(b"HTTP/1.1 503 ")

    with proxied(tmp_path, pair) as behind:
        asyncio.run(asyncio.wait_for(visit(behind), PATIENCE * 2))
