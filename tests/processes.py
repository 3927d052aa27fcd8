"""Real server processes for tests: started on a free port, ended by their id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

START_SECONDS = 60.0
"""How long a server may take to listen: far more than it needs, for a machine
that does much else."""

STOP_SECONDS = 30.0
"""How long it may take to end after C{SIGTERM} before it is killed."""


CLEAN_EXITS = (0, -signal.SIGTERM)
"""What a server that was told to stop ends with: C{twistd} shuts down in order and
then, as Unix programs that care for their parent do, ends by the signal it got."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def script(name: str) -> str:
    """The path of a console script that stands beside the running Python; a
    path stays as it is."""
    return str(Path(sys.executable).parent / name)


@dataclass
class Served:
    """
    A server process that listens.

    @ivar port: its TCP port on 127.0.0.1.
    """

    process: subprocess.Popen[bytes]
    port: int
    output: IO[bytes]

    def log(self) -> str:
        """All that it has written to its standard output and error so far."""
        return Path(self.output.name).read_text(errors="replace")

    def resident_kb(self) -> int:
        """The memory it holds at this moment, in KB (C{VmRSS})."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("the server process has no memory: it has ended")

    def stop(self) -> int:
        """
        End it as an operator would, and return its exit code; see L{CLEAN_EXITS}.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


def launched(
    arguments: Sequence[str],
    *,
    output: IO[bytes],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    own_group: bool = False,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """
    Start a process that writes all it has to say to C{output}.

    @param arguments: the command, C{arguments[0]} a console script's name
        or path.
    @param env: what its environment has besides that of the tests.
    @param own_group: whether it is in a process group of its own, where a test
        presses Ctrl-C.
    @param stdin: a descriptor, for its standard input; nothing unless given.
    """
    return subprocess.Popen(
        [script(arguments[0]), *arguments[1:]],
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=own_group,
    )


def wait_until(condition: Callable[[], object], seconds: float = STOP_SECONDS) -> None:
    """
    Wait for what another process does.

    @raise AssertionError: it did not come true.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


@contextmanager
def served(
    arguments: Sequence[str],
    *,
    port: int,
    cwd: Path,
    env: Mapping[str, str] | None = None,
) -> Iterator[Served]:
    """
    Run a server until the block ends.

    @param arguments: the command, C{arguments[0]} a console script's name
        or path.
    @param port: the TCP port it has been told to listen on.
    @raise AssertionError: it ended or did not listen in time; with its output.
    """
    with tempfile.NamedTemporaryFile(suffix=".log") as output:
        process = launched(arguments, output=output, cwd=cwd, env=env)
        server = Served(process, port, output)
        try:
            _wait_until_it_listens(server)
            yield server
        finally:
            server.stop()


def _wait_until_it_listens(server: Served) -> None:
    def listens() -> bool:
        if server.process.poll() is not None:
            raise AssertionError("it ended at its start")
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
        except OSError:
            return False
        return True

    try:
        wait_until(listens, START_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"the server does not listen: {error}\n{server.log()}") from None
