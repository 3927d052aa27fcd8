"""
How many instructions one request of the small site takes, as valgrind counts them.

On a machine that does other things too, times differ by a tenth from one minute to the
next, and these figures by a hundredth: small savings show.  What the kernel does is not
among them.  Run it with C{make bench-instructions}, before and after a change.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.quick.load import HTTP_CONNECTIONS
from benchmarks.quick.servers import SITE

REQUESTS: Final = 500
"""In each part."""

PARTS: Final = 6
"""The first one, in which all is new to the server, does not count."""

SLOWDOWN: Final = 50
"""About how much slower a program runs so; threads take turns as much later."""


def serve() -> None:
    """The server's process: prints its port, and a line after each signal."""
    from twisted.internet import reactor

    from chanserv.running.config import Config
    from chanserv.service import make_service

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = f"tcp:{port}:interface=127.0.0.1"
    service = make_service(Config("bench_site.settings_chanserv", listen=(endpoint,)), reactor)

    def part_ends(*_: object) -> None:
        os.getsid(0)  # where valgrind has been told to begin a new count
        print("counted", flush=True)

    def begin() -> None:
        service.privilegedStartService()
        service.startService()
        sys.setswitchinterval(sys.getswitchinterval() * SLOWDOWN)
        signal.signal(signal.SIGUSR1, part_ends)
        print(port, flush=True)

    reactor.callWhenRunning(begin)
    reactor.run()


def ask(connections: list[socket.socket], request: bytes) -> None:
    """Have L{REQUESTS} requests answered, as many at a time as there are connections."""
    for connection in connections:
        connection.sendall(request)
    for number in range(REQUESTS):
        connection = connections[number % len(connections)]
        answer = connection.recv(4096)
        if not answer.endswith(b"<p>This is /.</p>\n"):
            raise SystemExit(f"the page is not the page: {answer!r}")
        if number + len(connections) < REQUESTS:
            connection.sendall(request)


def instructions_in(file: Path) -> int:
    """The sum of what valgrind has written to C{file}."""
    found = re.search(r"^summary: (\d+)", file.read_text(), re.M)
    assert found is not None, f"{file} has no summary"
    return int(found[1])


def main() -> None:
    """Count, and print what each part says."""
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [
                *("valgrind", "--tool=callgrind", "--dump-before=getsid", "--fair-sched=yes"),
                *(f"--callgrind-out-file={folder}/out", f"--log-file={folder}/log"),
                *(sys.executable, "-m", "benchmarks.instructions", "serve"),
            ],
            env={**os.environ, "PYTHONPATH": str(SITE), "PYTHONHASHSEED": "0"},
            stdout=subprocess.PIPE,
        )
        try:
            assert server.stdout is not None
            address = ("127.0.0.1", int(server.stdout.readline()))
            request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % address[1]
            connections = [socket.create_connection(address) for _ in range(HTTP_CONNECTIONS)]
            for _ in range(PARTS):
                ask(connections, request)
                server.send_signal(signal.SIGUSR1)
                server.stdout.readline()
        finally:
            server.kill()
            server.wait()
        files = [Path(folder, f"out.{part}") for part in range(2, PARTS + 1)]
        figures = [instructions_in(file) / REQUESTS for file in files]
    print("instructions of a request:", *(f"{figure:,.0f}" for figure in figures))
    print(f"median: {statistics.median(figures):,.0f}")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
