"""
Messages a second through a team of threads and the memory layer.

An interface server is played by a few lines: it keeps a number of requests
open, each with its reply channel, and sends the next when the reply and the
receipt of one have come.  The application does next to nothing, or computes or
sleeps for a while; so what is measured is what chanserv adds.

Run: C{python -m benchmarks.worker_team}
"""

from __future__ import annotations

import argparse
import sys
import time

from twisted.internet.defer import Deferred
from zope.interface import implementer

from chanserv.interfaces import IApplication
from chanserv.layers import MemoryChannelLayer
from chanserv.messages import Delivery
from chanserv.worker.outbox import Outbox
from chanserv.worker.team import ThreadTeam

MAILBOX = "benchmark.response!"
REQUEST = {
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "root_path": "",
    "query_string": b"",
    "headers": [[b"host", b"localhost"], [b"user-agent", b"benchmark"], [b"accept", b"*/*"]],
    "body": b"",
    "client": ["127.0.0.1", 40000],
    "server": ["127.0.0.1", 8000],
}
RESPONSE = {
    "status": 200,
    "headers": [[b"content-type", b"text/plain"], [b"content-length", b"2"]],
    "content": b"ok",
}


@implementer(IApplication)
class Application:
    """Answers each request, after computing or sleeping for some microseconds."""

    def __init__(self, compute: float, sleep: float) -> None:
        self.compute = compute
        self.sleep = sleep

    def channel_names(self) -> frozenset[str]:
        return frozenset({"http.request", "websocket.connect", "websocket.receive"})

    def ignored_channels(self) -> frozenset[str]:
        return frozenset()

    def run(self, channel: str, message: dict[str, object], outbox: Outbox) -> None:
        if self.compute:
            end = time.perf_counter() + self.compute
            while time.perf_counter() < end:
                pass
        if self.sleep:
            time.sleep(self.sleep)
        outbox.send(str(message["reply_channel"]), RESPONSE)


class Edge:
    """Plays the interface server."""

    def __init__(self, layer: MemoryChannelLayer, clients: int, receipts: bool) -> None:
        self.layer = layer
        self.receipts = receipts
        self.clients = clients
        self.times: list[float] = []
        self.sent: dict[str, float] = {}
        self.due: dict[str, int] = {}
        self.done = 0

    def start(self) -> None:
        self._receive()
        for number in range(self.clients):
            self._ask(f"{MAILBOX}{number}")

    def _ask(self, channel: str) -> None:
        self.sent[channel] = time.perf_counter()
        self.due[channel] = 2 if self.receipts else 1
        self.layer.send(
            "http.request",
            {**REQUEST, "reply_channel": channel},
            channel if self.receipts else None,
        )

    def _receive(self) -> None:
        self.layer.receive([MAILBOX], 1000).addCallback(self._received)

    def _received(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            for channel in delivery.recipients:
                if "status" in delivery.message:
                    self.times.append(time.perf_counter() - self.sent[channel])
                    self.done += 1
                self.due[channel] -= 1
                if not self.due[channel]:
                    self._ask(channel)
            delivery.settle()
        self._receive()


def measure(arguments: argparse.Namespace) -> None:
    """Run the team under load for a while, and print what it did."""
    from twisted.internet import reactor

    layer = MemoryChannelLayer.for_reactor(reactor, capacity=10_000)
    edge = Edge(layer, arguments.clients, arguments.receipts)
    application = Application(arguments.compute / 1e6, arguments.sleep / 1e6)
    team = ThreadTeam(layer, application, reactor, arguments.threads, alone=not arguments.shared)
    team.startService()

    def begin() -> None:
        edge.start()
        reactor.callLater(1, warm)

    def warm() -> None:
        edge.done = 0
        edge.times.clear()
        reactor.callLater(arguments.seconds, end, time.perf_counter(), time.process_time())

    def end(began: float, cpu: float) -> Deferred[None]:
        took, used = time.perf_counter() - began, time.process_time() - cpu
        times = sorted(edge.times)
        print(
            f"{arguments.threads} threads, {arguments.clients} clients, "
            f"switch {sys.getswitchinterval() * 1000:g} ms, compute {arguments.compute} us, "
            f"sleep {arguments.sleep} us: {edge.done / took:,.0f} messages/s, "
            f"{used / edge.done * 1e6:.0f} us of processor each, "
            f"p50 {times[len(times) // 2] * 1e3:.2f} ms, "
            f"p99 {times[len(times) * 99 // 100] * 1e3:.2f} ms"
        )
        return team.stopService().addCallback(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()


def main() -> None:
    """Read the command line and measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--clients", type=int, default=64, help="requests open at once")
    parser.add_argument("--compute", type=int, default=0, help="microseconds of each consumer")
    parser.add_argument("--sleep", type=int, default=0, help="microseconds of each consumer")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--switch", type=float, default=1, help="switch interval in milliseconds")
    parser.add_argument("--shared", action="store_true", help="as if others read the layer too")
    parser.add_argument("--no-receipts", dest="receipts", action="store_false")
    arguments = parser.parse_args()
    sys.setswitchinterval(arguments.switch / 1000)
    measure(arguments)


if __name__ == "__main__":
    main()
