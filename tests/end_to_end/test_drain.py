"""
A server that is told to end under load: what was sent is answered, sockets close one
after the other, and workers hear of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.end_to_end.clients import Closed, Socket, ask
from tests.end_to_end.conftest import Start
from tests.end_to_end.garbage import frame
from tests.end_to_end.split import PATIENCE, Part, Split, eventually, split
from tests.processes import CLEAN_EXITS, Served, wait_until

FACTOR = float(os.environ.get("CHANSERV_DRAIN_FACTOR", "1"))
"""How many times as many clients as the default ones."""

DRAIN = "--drain=3s"
AT_ONCE = "--drain=0"
PATIENT = "--full-patience=5m"
LONG = "--drain-timeout=2m"
"""For machines that take their time; a stop lasts no longer than it must."""

GOODBYE = frame(8, (1012).to_bytes(2))
"""A client's answer to the close of a server that ends."""


@dataclass
class Tally:
    """
    What clients of a server have seen.

    @ivar answered: requests that had their whole answer.
    @ivar closes: connections that an answer said the end of.
    @ivar turned_away: connections that could not be made.
    @ivar broken: what went otherwise, in words.
    """

    answered: int = 0
    closes: int = 0
    turned_away: int = 0
    broken: list[str] = field(default_factory=list)


async def whole_answer(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """
    Read one answer.

    @return: its body, and whether it says that the connection closes.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200 "):
        raise AssertionError(head.decode())
    length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
    return await reader.readexactly(length), b"connection: close" in head


async def connection(port: int, tally: Tally) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """
    A new connection.

    @raise ConnectionRefusedError: nobody listens any more.
    """
    try:
        return await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        tally.turned_away += 1
        raise


async def browse(port: int, tally: Tally, serials: Iterator[int], pipelined: int) -> None:
    """Ask on one connection after the other, C{pipelined} requests at a time."""
    while True:
        try:
            reader, writer = await connection(port, tally)
        except ConnectionRefusedError:
            return
        closes = False
        while not closes:
            paths = [f"/about/{next(serials)}" for _ in range(pipelined)]
            requests = [f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n" for path in paths]
            writer.write("".join(requests).encode())
            for place, path in enumerate(paths):
                try:
                    body, closes = await whole_answer(reader)
                except Exception as error:
                    tally.broken.append(f"{place + 1} of {pipelined}: {error!r:.300}")
                    return
                if path.encode() not in body:
                    tally.broken.append(f"asked for {path}, got {body[:200]!r}")
                    return
                tally.answered += 1
                if closes and place + 1 < pipelined:
                    tally.broken.append(f"closed after {place + 1} of {pipelined}")
                    return
        tally.closes += 1
        writer.close()


async def visit(port: int, tally: Tally, serials: Iterator[int]) -> None:
    """Ask on a connection of its own for each request."""
    while True:
        try:
            reader, writer = await connection(port, tally)
        except ConnectionRefusedError:
            return
        try:
            request = f"GET /about/{next(serials)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            writer.write(request.encode())
            await whole_answer(reader)
        except Exception as error:
            tally.broken.append(f"on its own connection: {error!r:.300}")
            return
        tally.answered += 1
        writer.close()


async def load(port: int, pid: int, tally: Tally) -> None:
    """Have many clients ask, and the server told to end in the midst of it."""
    serials = count()
    clients: list[Awaitable[None]] = [
        browse(port, tally, serials, 1 + number % 4) for number in range(int(24 * FACTOR))
    ]
    clients += [visit(port, tally, serials) for _ in range(int(8 * FACTOR))]
    tasks = [asyncio.ensure_future(client) for client in clients]
    await eventually("many requests are answered", lambda: tally.answered > 400 or tally.broken)
    os.kill(pid, signal.SIGTERM)
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)


def check(tally: Tally) -> None:
    assert tally.broken == []
    assert tally.closes >= int(24 * FACTOR)
    assert tally.turned_away == int(24 * FACTOR) + int(8 * FACTOR)


def ready(start: Start, *options: str) -> Served:
    """A server with its site that heeds signals: it listens a moment before it does."""
    server = start(*options)
    wait_until(lambda: " is ready: " in server.log(), PATIENCE)
    return server


def test_a_server_that_is_told_to_end_under_load_answers_all_that_was_sent(start: Start) -> None:
    server = ready(start, "--threads=4", DRAIN, PATIENT)
    tally = Tally()
    asyncio.run(load(server.port, server.process.pid, tally))
    assert server.stop() in CLEAN_EXITS
    check(tally)
    assert "Traceback" not in server.log()


def test_so_does_one_whose_workers_are_elsewhere() -> None:
    with split("ipc") as site:
        front, _ = both(site)
        tally = Tally()
        asyncio.run(load(front.port, front.pid, tally))
        assert front.stop() in CLEAN_EXITS
        check(tally)
        assert "Traceback" not in front.log()


def queue_length() -> int:
    """How many connections may wait to be accepted, so that some of 300 do."""
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    return min(300, most // 2)


def test_connections_that_nobody_has_accepted_yet_are_answered(start: Start) -> None:
    """A server that is kept from running for a moment, and told to end meanwhile."""
    number = queue_length()
    server = ready(start, AT_ONCE, PATIENT, LONG)

    async def ask_stopped() -> int:
        with standing_still(server.process.pid):
            connections = [
                await asyncio.open_connection("127.0.0.1", server.port) for _ in range(number)
            ]
            for _, writer in connections:
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            server.process.send_signal(signal.SIGTERM)
        answers = [await whole_answer(reader) for reader, _ in connections]
        for _, writer in connections:
            writer.transport.abort()
        await asyncio.sleep(0)
        return len(answers)

    assert asyncio.run(asyncio.wait_for(ask_stopped(), PATIENCE)) == number
    assert server.stop() in CLEAN_EXITS


def test_requests_that_nobody_has_read_yet_are_answered_on_open_connections(start: Start) -> None:
    server = ready(start, AT_ONCE, PATIENT, LONG)

    async def ask_stopped() -> int:
        connections = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(30)]
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        for reader, writer in connections:
            writer.write(request)
            assert (await whole_answer(reader))[1] is False
        with standing_still(server.process.pid):
            for _, writer in connections:
                writer.write(request)
            await asyncio.sleep(0)
            server.process.send_signal(signal.SIGTERM)
        answers = [await whole_answer(reader) for reader, _ in connections]
        for _, writer in connections:
            writer.transport.abort()
        await asyncio.sleep(0)
        return len(answers)

    assert asyncio.run(asyncio.wait_for(ask_stopped(), PATIENCE)) == 30
    assert server.stop() in CLEAN_EXITS


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """Keep a process from running while the block does."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def both(site: Split) -> tuple[Part, Part]:
    """An interface server and a worker, both ready."""
    front, worker = site.begin_interface(DRAIN, PATIENT), site.begin_worker()
    for part in (front, worker):
        part.wait_until_ready()
    return front, worker


async def talk(socket: Socket, answered: list[int]) -> int:
    """
    Send numbers, five ahead of their answers, until the server closes.

    @return: the close code.
    """
    try:
        for number in count():
            socket.send(str(number))
            if number >= 5:
                answered.append(int(await socket.receive()))
    except Closed as closed:
        socket.writer.write(GOODBYE)
        return closed.code
    raise AssertionError("the server never closed")


async def listen(socket: Socket, closes: list[float]) -> int:
    """Wait until the server closes, and note when; return the close code."""
    try:
        await socket.receive()
    except Closed as closed:
        closes.append(time.monotonic())
        socket.writer.write(GOODBYE)
        return closed.code
    raise AssertionError("a message that nobody sent")


def test_sockets_close_one_after_the_other_with_their_answers_and_workers_hear_of_all() -> None:
    with split("ipc") as site:
        front, worker = both(site)
        other = site.interface()  # it stays, to ask what the worker has heard

        async def visit() -> None:
            silent = [await Socket.open(front.port, "/order/") for _ in range(30)]
            talkers = [await Socket.open(front.port, "/chat/") for _ in range(10)]
            answered: list[list[int]] = [[] for _ in talkers]
            talks = [
                asyncio.ensure_future(talk(*each)) for each in zip(talkers, answered, strict=True)
            ]
            await eventually("they talk", lambda: all(len(one) > 20 for one in answered))
            front.process.send_signal(signal.SIGTERM)
            closes: list[float] = []
            assert await asyncio.gather(*(listen(one, closes) for one in silent)) == [1012] * 30
            assert await asyncio.gather(*talks) == [1012] * 10
            for numbers in answered:
                assert numbers == list(range(len(numbers)))
            # Not in one moment, unless this very test has not run for nearly all that time.
            assert max(closes) - min(closes) > 0.3
            await eventually("it has ended", lambda: front.process.poll() is not None)
            heard = await ask(other.port, "/notes/")
            assert heard["notes"].count("websocket.disconnect 1") == 30
            for socket in (*silent, *talkers):
                socket.close()

        asyncio.run(asyncio.wait_for(visit(), PATIENCE * 2))
        assert front.stop() in CLEAN_EXITS
        assert worker.process.poll() is None
        assert "Traceback" not in front.log() + worker.log()
