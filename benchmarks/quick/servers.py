"""The servers that are compared: how each starts, and what it weighs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SITE: Final = Path(__file__).resolve().parent / "site"
START_PATIENCE: Final = 20.0
"""Seconds for a server to open its port."""


class DidNotStart(Exception):
    """A server ended, or opened no port in time; holds what it printed."""


@dataclass(frozen=True)
class Server:
    """
    One server.

    @ivar command: makes its command line from the folder of its environment's
        programs and a port.
    @ivar sockets: whether it serves WebSockets.
    """

    name: str
    command: Callable[[Path, int], list[str]]
    sockets: bool = True


UVICORN: Final = Server(
    "uvicorn + Channels 4",
    lambda programs, port: [
        *(f"{programs}/uvicorn", "bench_site.asgi:application", f"--port={port}"),
        *("--lifespan=off", "--log-level=warning", "--no-access-log"),
    ],
)

GUNICORN: Final = Server(
    "gunicorn gthread",
    lambda programs, port: [
        *(f"{programs}/gunicorn", "bench_site.wsgi", f"--bind=127.0.0.1:{port}"),
        *("--worker-class=gthread", "--workers=1", "--threads=4", "--keep-alive=75"),
        "--log-level=warning",
    ],
    sockets=False,
)

CHANSERV: Final = Server(
    "chanserv",
    lambda programs, port: [
        *(f"{programs}/twistd", "--nodaemon", "--pidfile=", "chanserv"),
        "--settings=bench_site.settings_chanserv",
        f"--listen=tcp:{port}:interface=127.0.0.1",
    ],
)


@dataclass(frozen=True)
class Running:
    """A started server."""

    port: int
    pid: int

    def kilobytes(self) -> int:
        """What its processes hold in memory; what they share counts once."""
        return sum(_proportional_kilobytes(pid) for pid in _with_children(self.pid))


@contextmanager
def running(server: Server, programs: Path, core: int) -> Iterator[Running]:
    """
    Run a server on one core, on a free port, and end it afterwards.

    @raise DidNotStart: it opened no port.
    """
    port = _free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        "PYTHONPATH": str(SITE),
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            server.command(programs, port),
            cwd=SITE,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            if not _opens(port, process):
                log.seek(0)
                printed = log.read().decode("utf-8", "replace")
                raise DidNotStart(f"{server.name} opened no port; it printed:\n{printed}")
            yield Running(port, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                sys.stderr.write(f"{server.name} did not end when it was asked to\n")
                process.kill()
                process.wait()


def _opens(port: int, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + START_PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


def _with_children(pid: int) -> list[int]:
    found = [pid]
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += _with_children(int(child))
    return found


def _proportional_kilobytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        # Not the program's own text: who shares that changes all the time.
        if name == "Pss_Anon":
            return int(value.split()[0])
    raise AssertionError(f"/proc/{pid}/smaps_rollup has no Pss_Anon")
