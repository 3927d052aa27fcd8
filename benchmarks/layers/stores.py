"""Redis servers of the benchmark's own, on Unix sockets in a folder that goes with them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

START_PATIENCE: Final = 20.0
"""Seconds for a server to open its socket."""


@contextmanager
def folder() -> Iterator[Path]:
    """A folder with a name short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


@contextmanager
def redis_servers(where: Path, count: int) -> Iterator[list[Path]]:
    """
    Run so many servers until the block ends.

    @return: the socket of each; none where C{redis-server} is not installed.
    """
    program = shutil.which("redis-server")
    processes = []
    sockets = []
    try:
        for number in range(count if program else 0):
            home = where / f"redis{number}"
            home.mkdir()
            sockets.append(home / "socket")
            processes.append(_start(str(program), home))
        for socket in sockets:
            _wait_for(socket)
        yield sockets
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _start(program: str, home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(program, "--port", "0", "--unixsocket", str(home / "socket")),
            *("--save", "", "--appendonly", "no", "--dir", str(home)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_for(socket: Path) -> None:
    end = time.monotonic() + START_PATIENCE
    while not socket.exists():
        if time.monotonic() > end:
            raise RuntimeError(f"redis-server has made no {socket}")
        time.sleep(0.01)
