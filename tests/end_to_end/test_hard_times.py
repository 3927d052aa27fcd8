"""A whole server where something has run out: threads, files, time."""

from __future__ import annotations

import asyncio
import resource
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.end_to_end.clients import Closed, Socket, connected, get, until
from tests.end_to_end.conftest import Start
from tests.processes import CLEAN_EXITS, Served

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def processor_ticks(server: Served) -> int:
    """How long the server has used the processor, in hundredths of a second."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_while_all_threads_are_stuck_some_wait_some_are_refused_and_then_all_is_well(
    start: Start,
) -> None:
    server = start("--threads=2", "--full-patience=500ms")

    async def crowd() -> tuple[int, int]:
        port = server.port
        stuck = [asyncio.create_task(get(port, "/slow/3000/")) for _ in range(2)]
        await asyncio.sleep(0.3)
        answers = await asyncio.gather(*(get(port) for _ in range(300)))
        served = sum(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
        refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
        assert all(b"\r\nRetry-After: 5\r\n" in answer for answer in refused)
        assert served + len(refused) == 300
        assert all(answer.endswith(b"slow 3000") for answer in await asyncio.gather(*stuck))
        answers = await asyncio.gather(*(get(port) for _ in range(100)))
        assert all(answer.endswith(b"hello") for answer in answers)
        return served, len(refused)

    served, refused = asyncio.run(crowd())
    assert served >= 100  # what the channel holds
    assert refused >= 100


def test_a_server_out_of_files_refuses_says_so_idles_and_recovers(start: Start) -> None:
    server = start()
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (64, 64))

    async def crowd() -> None:
        async with AsyncExitStack() as stack:
            readers = []
            for _ in range(150):
                reader, writer = await stack.enter_async_context(connected(server.port))
                writer.write(REQUEST)
                readers.append(reader)
            answers = await asyncio.gather(
                *(reader.read(15) for reader in readers), return_exceptions=True
            )
            served = answers.count(b"HTTP/1.1 200 OK")
            assert 30 < served < 64
            before = processor_ticks(server)
            await asyncio.sleep(1)
            assert processor_ticks(server) - before < 30
        deadline = time.monotonic() + 20
        while True:
            try:
                assert (await get(server.port)).endswith(b"hello")
                return
            except ConnectionError:  # its old connections are not all gone yet
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)

    asyncio.run(crowd())
    assert "EMFILE" in server.log()
    assert "Traceback" not in server.log()


def test_five_hundred_idle_sockets_cost_no_processor(start: Start) -> None:
    server = start()

    async def idle() -> int:
        sockets = await asyncio.gather(*(Socket.open(server.port) for _ in range(500)))
        await asyncio.sleep(0.5)
        before = processor_ticks(server)
        await asyncio.sleep(4)
        used = processor_ticks(server) - before
        for socket in sockets:
            socket.close()
        return used

    assert asyncio.run(idle()) < 20  # 5 % of one processor


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_has_been_asked_and_then_ends(
    start: Start, number: signal.Signals
) -> None:
    server = start("--threads=9", "--drain=0", "--drain-timeout=6")

    async def stop() -> None:
        port = server.port
        socket = await Socket.open(port)
        slow = [asyncio.create_task(get(port, "/slow/1000/")) for _ in range(8)]
        waits = asyncio.create_task(get(port, "/later/"))
        await until(port, "/members/later/", lambda answer: len(answer["members"]) == 1)
        async with connected(port) as (idle, _), connected(port) as (half, writer):
            writer.write(REQUEST[:10])
            await asyncio.sleep(0.2)
            server.process.send_signal(number)
            with pytest.raises(Closed, match="1012"):
                await socket.receive()
            socket.close()
            assert await idle.read() == b""
            writer.write(REQUEST[10:])
            assert (await half.read()).endswith(b"hello")
        assert all(answer.endswith(b"slow 1000") for answer in await asyncio.gather(*slow))
        with pytest.raises(ConnectionError):
            await get(port)
        # Nobody answers this one before the time for the stop has passed.
        answer = await waits
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in answer

    asyncio.run(asyncio.wait_for(stop(), 60))
    assert server.process.wait(30) in (*CLEAN_EXITS, -number)
    assert "Traceback" not in server.log()


def test_a_second_interrupt_ends_it_at_once(start: Start) -> None:
    server = start()

    async def stop() -> float:
        waits = asyncio.create_task(get(server.port, "/slow/6000/"))
        await asyncio.sleep(0.3)
        begin = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        server.process.send_signal(signal.SIGINT)
        await asyncio.to_thread(server.process.wait, 30)
        await asyncio.gather(waits, return_exceptions=True)
        return time.monotonic() - begin

    assert asyncio.run(stop()) < 4
    assert "Traceback" not in server.log()
