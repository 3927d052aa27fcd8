"""
How fast the interface server is by itself: no Django, no threads.

A worker that answers from memory stands on the reactor of the server's own
process, so what is measured is the server, the memory layer and the path
between them.  Run it from the repository:

    python benchmarks/interface_server.py [http] [echo] [group] [idle]

Each figure is given for the wall clock and for a second of the server's own
processor time, which does not depend on what else the machine does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 4
ECHO_CLIENTS = 50
GROUP_MEMBERS = 500
IDLE_SOCKETS = 2000

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
FRAME = b"\x81\x90\0\0\0\0sixteen bytes ..."[: 6 + 16]
ANSWER = 18  # bytes of the same frame from the server, without its mask


def serve() -> None:
    """The server process: prints its port, and serves for ever."""
    from twisted.internet import endpoints, reactor

    from chanserv.layers.memory import MemoryChannelLayer
    from chanserv.messages import SealedMessage, Send
    from chanserv.server import InterfaceServer

    clock: Any = reactor
    layer = MemoryChannelLayer(clock=clock, call_from_thread=clock.callFromThread)
    server = InterfaceServer(layer, clock)
    server.startService()
    response = SealedMessage(
        {
            "status": 200,
            "headers": [
                [b"Content-Type", b"text/html; charset=utf-8"],
                [b"X-Frame-Options", b"DENY"],
            ],
            "content": b"Hello, world",
        },
        100,
    )
    accept = SealedMessage({"accept": True}, 8)

    def answer(deliveries: list[Any]) -> None:
        sends = []
        for delivery in deliveries:
            message = delivery.message
            match delivery.channel:
                case "http.request":
                    sends.append(Send(message["reply_channel"], response))
                case "websocket.connect":
                    sends.append(Send(message["reply_channel"], accept))
                    layer.group_add("all", message["reply_channel"])
                case "websocket.receive" if message["text"][0] == "g":
                    layer.send_group("all", SealedMessage({"text": message["text"]}, 20))
                case "websocket.receive":
                    reply = SealedMessage({"text": message["text"]}, 20)
                    sends.append(Send(message["reply_channel"], reply))
        layer.send_batch(sends, deliveries)
        clock.callLater(0, receive)

    def receive() -> None:
        channels = [f"websocket.{kind}" for kind in ("connect", "receive", "disconnect")]
        channels += ["http.request", "http.disconnect"]
        layer.receive(channels, 1000).addCallback(answer)

    receive()
    listening = endpoints.serverFromString(clock, "tcp:0:interface=127.0.0.1:backlog=1000").listen(
        server.factory
    )
    listening.addCallback(lambda port: print(port.getHost().port, flush=True))
    clock.run()


class Server:
    """The server process, as the measuring side sees it."""

    def __enter__(self) -> Server:
        environment = {**os.environ, "PYTHONPATH": os.getcwd()}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve"], stdout=subprocess.PIPE, env=environment
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        self.process.wait()

    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ")[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kilobytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found[1])


def report(name: str, count: float, wall: float, processor: float) -> None:
    """Print one figure."""
    print(f"{name:28} {count / wall:>10,.0f}/s {count / processor:>10,.0f}/processor s")


def measure_http(server: Server) -> None:
    """Requests over kept connections."""
    wrk = shutil.which("wrk")
    if wrk is None:
        print("http: wrk is not installed")
        return
    before = server.processor_seconds()
    command = [wrk, "-t1", "-c32", f"-d{SECONDS}s", f"http://127.0.0.1:{server.port}/"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) requests in", output)
    assert found is not None
    report("HTTP, 32 connections", int(found[1]), SECONDS, server.processor_seconds() - before)


def measure_sockets(server: Server, kind: str) -> None:
    """Echo, group sends or idle sockets, from a client on raw frames."""
    from twisted.internet import endpoints, protocol, reactor

    clock: Any = reactor
    count = {"echo": ECHO_CLIENTS, "group": GROUP_MEMBERS, "idle": IDLE_SOCKETS}[kind]
    opened: list[Any] = []
    received = 0
    started: list[float] = []

    class Socket(protocol.Protocol):
        """A client that counts bytes once it is open."""

        def connectionMade(self) -> None:
            self.transport.write(HANDSHAKE)  # type: ignore[union-attr]
            self.dataReceived: Callable[[bytes], None] = self.opening

        def opening(self, data: bytes) -> None:
            assert data.startswith(b"HTTP/1.1 101"), data
            self.dataReceived = self.echoed if kind == "echo" else self.counted
            opened.append(self)
            if len(opened) == count:
                clock.callLater(0.5, begin)
            elif len(opened) + 20 <= count:
                connect()

        def echoed(self, data: bytes) -> None:
            nonlocal received
            received += 1
            self.transport.write(FRAME)  # type: ignore[union-attr]

        def counted(self, data: bytes) -> None:
            nonlocal received
            received += len(data) // ANSWER
            if received % count == 0:
                opened[0].transport.write(FRAME.replace(b"s", b"g", 1))

    def connect() -> None:
        endpoint = endpoints.HostnameEndpoint(clock, "127.0.0.1", server.port)
        endpoint.connect(protocol.Factory.forProtocol(Socket))

    def begin() -> None:
        started.extend((time.monotonic(), server.processor_seconds()))
        if kind == "idle":
            clock.stop()
            return
        for socket in opened if kind == "echo" else opened[:1]:
            socket.transport.write(FRAME if kind == "echo" else FRAME.replace(b"s", b"g", 1))
        clock.callLater(SECONDS, clock.stop)

    before = server.kilobytes()
    for _ in range(min(20, count)):
        clock.callWhenRunning(connect)
    clock.run()
    wall, processor = started
    if kind == "idle":
        print(f"{'idle socket':28} {(server.kilobytes() - before) / count:>10.1f} KB")
        return
    name = f"echo, {count} sockets" if kind == "echo" else f"group of {count}, one at a time"
    report(name, received, time.monotonic() - wall, server.processor_seconds() - processor)


def main() -> None:
    """Measure what the command line names."""
    if sys.argv[1:] == ["serve"]:
        serve()
        return
    names = sys.argv[1:] or ["http", "echo", "group", "idle"]
    if len(names) > 1:
        # A reactor runs once in a process.
        for name in names:
            subprocess.run([sys.executable, __file__, name], check=True)
        return
    with Server() as server:
        if names == ["http"]:
            measure_http(server)
        else:
            measure_sockets(server, names[0])


if __name__ == "__main__":
    main()
