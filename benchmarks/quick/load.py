"""
The load: four measurements of one server, from one thread.

The client is an epoll loop over raw sockets with prepared frames, several
times as fast as any server it measures; it is the same for all of them.
"""

from __future__ import annotations

import re
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.quick.frames import (
    WrongAnswer,
    client_frame,
    fetch,
    open_websocket,
    server_frame,
)

HTTP_CONNECTIONS: Final = 32
ECHO_CLIENTS: Final = 50
GROUP_MEMBERS: Final = 500
IDLE_SOCKETS: Final = 1_000
PATIENCE: Final = 20.0
"""Seconds without any answer after which a figure is void."""


@dataclass(frozen=True)
class Rate:
    """How many a second, and how slow the slowest hundredth was (seconds)."""

    per_second: float
    p99: float


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


def http(port: int, seconds: float) -> Rate:
    """
    Requests a second over keep-alive connections.

    @raise WrongAnswer: an answer was not the page.
    """
    answer = fetch(port)
    if not (answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"<p>This is /.</p>\n")):
        raise WrongAnswer(f"the page is not the page: {answer[:300]!r}")
    wrk = shutil.which("wrk")
    return _http_by_wrk(wrk, port, seconds) if wrk else _http_by_hand(port, seconds)


def _http_by_wrk(wrk: str, port: int, seconds: float) -> Rate:
    report = subprocess.run(
        [
            *(wrk, "--threads=1", f"--connections={HTTP_CONNECTIONS}", "--latency"),
            *(f"--duration={max(1, round(seconds))}s", f"http://127.0.0.1:{port}/"),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    if "Non-2xx" in report or "Socket errors" in report:
        raise WrongAnswer(f"wrk saw errors:\n{report}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    slow = re.search(r"99%\s+([\d.]+)(us|ms|s)", report)
    assert rate is not None, report
    assert slow is not None, report
    return Rate(float(rate[1]), float(slow[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[slow[2]])


def _http_by_hand(port: int, seconds: float) -> Rate:
    request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port

    def whole(data: bytes) -> bool:
        head, gap, body = data.partition(b"\r\n\r\n")
        if not gap:
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            raise WrongAnswer(f"an answer was {head[:100]!r}")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if length is not None:
            return len(body) == int(length[1])
        return body.endswith(b"0\r\n\r\n")

    connections = [
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        for _ in range(HTTP_CONNECTIONS)
    ]
    return _one_in_flight(connections, seconds, lambda _: request, lambda _, data: whole(data))


def echo(port: int, seconds: float) -> Rate:
    """
    Round trips a second of some clients that each keep one message in flight.

    @raise WrongAnswer: an echo was not what had been sent.
    """
    texts = [f"message {number:02d}".ljust(32, ".").encode("ascii") for number in range(16)]
    sent = [client_frame(text) for text in texts]
    expected = [server_frame(text) for text in texts]

    def whole(number: int, data: bytes) -> bool:
        if data == expected[number % 16]:
            return True
        if expected[number % 16].startswith(data):
            return False
        raise WrongAnswer(f"an echo was {data!r}")

    connections = [open_websocket(port, "/echo/") for _ in range(ECHO_CLIENTS)]
    return _one_in_flight(connections, seconds, lambda number: sent[number % 16], whole)


def _one_in_flight(
    connections: list[socket.socket],
    seconds: float,
    question: Callable[[int], bytes],
    whole: Callable[[int, bytes], bool],
) -> Rate:
    """Ask on each connection, and ask again as soon as the answer is C{whole}."""
    times: list[float] = []
    numbers: dict[int, int] = {}
    partial: dict[int, bytes] = {}
    asked: dict[int, float] = {}
    with _polled(connections) as (poll, by_descriptor):
        start = time.perf_counter()
        end = start + seconds
        for descriptor, connection in by_descriptor.items():
            numbers[descriptor] = 0
            asked[descriptor] = time.perf_counter()
            connection.send(question(0))
        now = start
        while now < end:
            ready = poll.poll(PATIENCE)
            if not ready:
                raise WrongAnswer(f"no answer for {PATIENCE:.0f} s")
            for descriptor, _ in ready:
                connection = by_descriptor[descriptor]
                data = connection.recv(65536)
                if not data:
                    raise WrongAnswer("the server closed a connection")
                if descriptor in partial:
                    data = partial.pop(descriptor) + data
                number = numbers[descriptor]
                if not whole(number, data):
                    partial[descriptor] = data
                    continue
                now = time.perf_counter()
                times.append(now - asked[descriptor])
                numbers[descriptor] = number + 1
                asked[descriptor] = now
                connection.send(question(number + 1))
        return Rate(len(times) / (now - start), _p99(times))


def group(port: int, seconds: float, at_once: int) -> Rate:
    """
    Deliveries a second to the members of a group; the next broadcast goes out
    when each member has the last.

    @param at_once: how many items one broadcast sends.
    @raise WrongAnswer: a member missed an item, or got it twice or out of order.
    """
    times: list[float] = []
    members = [open_websocket(port, "/member/") for _ in range(GROUP_MEMBERS)]
    sender = open_websocket(port, "/sender/")
    try:
        with _polled(members) as (poll, by_descriptor):
            _broadcast(sender, poll, by_descriptor, 0, 1)
            number = 1
            start = now = time.perf_counter()
            while now < start + seconds:
                _broadcast(sender, poll, by_descriptor, number, at_once)
                number += at_once
                before, now = now, time.perf_counter()
                times.append(now - before)
            return Rate((number - 1) * GROUP_MEMBERS / (now - start), _p99(times))
    finally:
        sender.close()


def _broadcast(
    sender: socket.socket,
    poll: select.epoll,
    members: dict[int, socket.socket],
    first: int,
    count: int,
) -> None:
    """Have C{count} items sent, and see each member get exactly these."""
    expected = b"".join(
        server_frame(f"{number:08d}".ljust(100, ".").encode("ascii"))
        for number in range(first, first + count)
    )
    partial: dict[int, bytes] = {}
    waiting = len(members)
    sender.send(client_frame(b"%d %d" % (first, count)))
    while waiting:
        ready = poll.poll(PATIENCE)
        if not ready:
            raise WrongAnswer(f"{waiting} of {len(members)} members missed an item")
        for descriptor, _ in ready:
            data = members[descriptor].recv(65536)
            if data != expected:
                data = partial.pop(descriptor, b"") + data
                if data != expected:
                    if not data or not expected.startswith(data):
                        raise WrongAnswer(f"a member got {data[:300]!r}")
                    partial[descriptor] = data
                    continue
            waiting -= 1


def idle_kilobytes(port: int, weigh: Callable[[], int]) -> float:
    """
    The server's memory for one open socket that is silent.

    Some sockets go first, so that what a server makes once is not counted.

    @param weigh: gives the server's memory in kilobytes.
    """
    connections = [open_websocket(port, "/echo/") for _ in range(100)]
    try:
        time.sleep(0.5)
        before = weigh()
        connections += [open_websocket(port, "/echo/") for _ in range(IDLE_SOCKETS)]
        time.sleep(0.5)
        after = weigh()
        for connection in connections:
            connection.send(client_frame(b"still there?"))
            if connection.recv(100) != server_frame(b"still there?"):
                raise WrongAnswer("an idle socket did not answer")
        return (after - before) / IDLE_SOCKETS
    finally:
        for connection in connections:
            connection.close()


@contextmanager
def _polled(
    connections: list[socket.socket],
) -> Iterator[tuple[select.epoll, dict[int, socket.socket]]]:
    """An epoll over C{connections}, by descriptor, that are closed in the end."""
    poll = select.epoll()
    try:
        for connection in connections:
            connection.setblocking(False)
            poll.register(connection, select.EPOLLIN)
        yield poll, {connection.fileno(): connection for connection in connections}
    finally:
        poll.close()
        for connection in connections:
            connection.close()
