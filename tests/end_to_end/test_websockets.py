"""WebSockets with a whole server: order, closes, floods, groups and faults."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.end_to_end.clients import Closed, Socket, ask, connected, get, until
from tests.end_to_end.conftest import Start
from tests.end_to_end.garbage import HANDSHAKE, frame
from tests.processes import Served


@pytest.fixture(scope="module")
def server(start_for_module: Start) -> Served:
    return start_for_module("--threads=4")


async def notes(server: Served) -> list[str]:
    answer = await ask(server.port, "/notes/")
    return list(answer["notes"])


async def closed_with(socket: Socket) -> int:
    """The code with which the server closes."""
    with pytest.raises(Closed) as closed:
        await asyncio.wait_for(socket.receive(), 20)
    socket.close()
    return closed.value.code


def test_a_burst_of_frames_is_handled_in_order_and_the_end_comes_last_and_once(
    server: Served,
) -> None:
    async def burst() -> list[str]:
        before = len(await notes(server))
        socket = await Socket.open(server.port, "/order/")
        for number in range(3000):
            socket.send(str(number))
        assert await socket.part(1000) == 1000
        await until(
            server.port, "/notes/", lambda answer: "websocket.disconnect 3001" in answer["notes"]
        )
        return (await notes(server))[before:]

    assert asyncio.run(burst()) == [
        "websocket.connect 0",
        *(f"websocket.receive {order}" for order in range(1, 3001)),
        "websocket.disconnect 3001",
    ]


def test_a_thousand_handshakes_at_once_are_all_accepted(server: Served) -> None:
    async def rush() -> None:
        port = server.port
        sockets = await asyncio.gather(*(Socket.open(port, "/group/rush/") for _ in range(1000)))
        answer = await ask(port, "/members/rush/")
        assert len(answer["members"]) == 1000
        for path in ("/send/rush/20/", "/send/rush/20/?now"):
            await get(port, path)
            for socket in sockets:
                assert [await socket.receive() for _ in range(20)] == [str(n) for n in range(20)]
        for socket in sockets:
            socket.close()
        # None of them has left the group itself.
        await until(port, "/members/rush/", lambda answer: not answer["members"])

    asyncio.run(asyncio.wait_for(rush(), 60))


def test_a_member_that_reads_nothing_keeps_nothing_from_the_others(server: Served) -> None:
    async def flood() -> None:
        async with connected(server.port) as (reader, writer):
            writer.write(HANDSHAKE.replace(b"/chat/", b"/group/crowd/"))
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            sockets = [await Socket.open(server.port, "/group/crowd/") for _ in range(20)]
            for _ in range(5):
                await get(server.port, "/send/crowd/1000/")
                for socket in sockets:
                    for number in range(1000):
                        assert await socket.receive() == str(number)
        for socket in sockets:
            socket.close()

    asyncio.run(asyncio.wait_for(flood(), 60))


def test_a_flooded_client_that_reads_nothing_is_dropped_and_costs_no_memory(
    server: Served,
) -> None:
    async def flood() -> int:
        before = server.resident_kb()
        async with connected(server.port) as (reader, writer):
            writer.write(HANDSHAKE.replace(b"/chat/", b"/flood/"))
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(frame(1, b"3000"))  # 190 MB
            await until(server.port, "/notes/", lambda answer: "disconnect 1006" in answer["notes"])
            return server.resident_kb() - before

    growth = asyncio.run(flood())
    assert "bytes unread" in server.log()
    assert growth < 60_000


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1008, 1011, 3000, 4999])
def test_close_codes_go_both_ways(server: Served, code: int) -> None:
    async def close() -> None:
        socket = await Socket.open(server.port, "/close/")
        assert await socket.part(code) == code
        await until(server.port, "/notes/", lambda answer: f"disconnect {code}" in answer["notes"])
        socket = await Socket.open(server.port, "/close/")
        socket.send(str(code))
        assert await closed_with(socket) == code

    asyncio.run(close())


@pytest.mark.parametrize(
    ("code", "sent"), [(999, 1011), (1004, 1011), (1005, 1011), (1006, 1011), (1015, 1011),
                       (2000, 1011), (5000, 1011)]
)  # fmt: skip
def test_a_code_that_may_not_be_sent_is_an_error_of_the_site(
    server: Served, code: int, sent: int
) -> None:
    async def close() -> int:
        socket = await Socket.open(server.port, "/close/")
        socket.send(str(code))
        return await closed_with(socket)

    assert asyncio.run(close()) == sent


def test_frames_behind_a_handshake_wait_until_a_slow_consumer_accepts(server: Served) -> None:
    async def talk() -> bytes:
        async with connected(server.port) as (reader, writer):
            behind = frame(1, b"one", fin=False) + frame(9, b"ping") + frame(0, b"two")
            writer.write(HANDSHAKE.replace(b"/chat/", b"/late/") + behind)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            return await reader.readexactly(6 + 9 + 8)

    answer = asyncio.run(asyncio.wait_for(talk(), 20))
    # The answer to the ping may come before what the consumer says.
    assert b"\x8a\x04ping" in answer
    assert answer.replace(b"\x8a\x04ping", b"") == b"\x81\x07at last" + b"\x81\x06onetwo"


def test_refusals_and_faults_of_consumers_are_told_and_cost_their_socket_only(
    server: Served,
) -> None:
    async def fail() -> None:
        port = server.port
        bystander = await Socket.open(port)
        for path in ("/deny/", "/fail/"):
            with pytest.raises(ConnectionError, match="403"):
                await Socket.open(port, path)
        for path in ("/fail-later/", "/exit/"):
            socket = await Socket.open(port, path)
            socket.send("x")
            assert await closed_with(socket) == 1011
        await bystander.echo("still here")
        bystander.close()

    asyncio.run(fail())
    log = server.log()
    assert log.count("site_under_test.routing.fail failed on a message from") == 2
    assert (
        "site_under_test.routing.leave_the_process failed on a message from channel "
        "'websocket.receive'" in log
    )


def test_a_message_put_off_is_answered_later(server: Served) -> None:
    async def wait() -> Any:
        socket = await Socket.open(server.port, "/put-off/")
        socket.send("x")
        try:
            return await asyncio.wait_for(socket.receive(), 20)
        finally:
            socket.close()

    assert asyncio.run(wait()) == "later"


def test_a_thread_of_the_sites_own_reaches_sockets_and_consumers(server: Served) -> None:
    async def wait() -> None:
        socket = await Socket.open(server.port, "/group/threads/")
        await get(server.port, "/from-thread/threads/")
        assert await asyncio.wait_for(socket.receive(), 20) == "from a thread"
        await until(server.port, "/notes/", lambda answer: "from a thread" in answer["notes"])
        socket.close()

    asyncio.run(wait())


def test_sockets_that_come_and_go_leave_no_memory_behind(server: Served) -> None:
    async def come_and_go(count: int) -> None:
        for _ in range(count):
            socket = await Socket.open(server.port)
            await socket.echo("x")
            socket.close()

    async def many() -> int:
        await asyncio.gather(*(come_and_go(30) for _ in range(20)))
        middle = server.resident_kb()
        await asyncio.gather(*(come_and_go(60) for _ in range(20)))
        await until(server.port, "/members/everyone/", lambda answer: not answer["members"])
        return server.resident_kb() - middle

    assert asyncio.run(many()) < 6_000
