"""Whole servers with open sockets, and the layer's store dies under them."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.end_to_end.clients import Closed, Socket, ask, get, until
from tests.end_to_end.split import PATIENCE, Part, Split, eventually, split
from tests.faults.processes import say
from tests.redis_servers import RedisServer, redis_server

SOCKETS = 20
"""Open sockets at each of two interface servers."""


async def reaches_all(port: int, sockets: list[Socket]) -> float:
    """
    Wait until a message for the group reaches every socket.

    @return: the seconds until one did.
    """
    begin = time.monotonic()
    got: list[list[int]] = [[] for _ in sockets]
    next_number = 0

    async def listen(socket: Socket, numbers: list[int]) -> None:
        while True:
            kind, _, number = (await socket.receive()).partition(":")
            assert kind == "all", kind
            assert not numbers or int(number) > numbers[-1], "it came twice, or out of order"
            numbers.append(int(number))

    listeners = [
        asyncio.create_task(listen(socket, numbers))
        for socket, numbers in zip(sockets, got, strict=True)
    ]
    speaker: Socket | None = None
    try:
        while not set.intersection(*map(set, got)):
            assert time.monotonic() - begin < PATIENCE, f"{next_number} were sent, and came: {got}"
            for listener in listeners:
                if listener.done():
                    listener.result()
            try:
                speaker = speaker or await Socket.open(port, "/group/speakers/")
                speaker.send(f"all:{next_number}")
                next_number += 1
            except ConnectionError:
                speaker = None
            await asyncio.sleep(0.3)
    finally:
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
        if speaker is not None:
            speaker.close()
    return time.monotonic() - begin


async def serves(port: int) -> float:
    """Wait until a request is answered 200; return the seconds until it was."""
    begin = time.monotonic()
    while not (answer := await get(port, "/pid/")).startswith(b"HTTP/1.1 200 "):
        assert answer.split(b" ", 2)[1] in (b"502", b"503"), answer[:100]
        assert time.monotonic() - begin < PATIENCE
        await asyncio.sleep(0.1)
    return time.monotonic() - begin


def parts(site: Split) -> tuple[list[Part], Part]:
    """Two interface servers and a worker, which are ready."""
    fronts = [site.begin_interface(), site.begin_interface()]
    worker = site.begin_worker()
    for part in (*fronts, worker):
        part.wait_until_ready()
    return fronts, worker


async def open_sockets(fronts: list[Part]) -> list[Socket]:
    return [await Socket.open(front.port) for front in fronts for _ in range(SOCKETS)]


def test_redis_killed_and_started_again_empty_under_open_sockets() -> None:
    with redis_server() as server, split("redis") as site:
        site.layer = server.url
        fronts, worker = parts(site)
        asyncio.run(asyncio.wait_for(redis_dies(server, fronts), PATIENCE * 2))
        for front in fronts:
            log = front.log()
            assert log.count("takes no events") <= 2, log
            assert "Traceback" not in log, log
        assert "Traceback" not in worker.log(), worker.log()


async def redis_dies(server: RedisServer, fronts: list[Part]) -> None:
    sockets = await open_sockets(fronts)
    front, other = fronts
    held = asyncio.create_task(get(front.port, "/slow/1500/"))
    await reaches_all(front.port, sockets)
    server.kill()
    away = [await get(front.port) for _ in range(20)]
    assert {answer.split(b" ", 2)[1] for answer in away} == {b"503"}
    assert all(b"\r\nRetry-After: 5\r\n" in answer for answer in away)
    with pytest.raises(ConnectionError, match="503"):
        await Socket.open(other.port)
    begin = time.monotonic()
    server.start()
    served = await serves(front.port)
    reached = await reaches_all(other.port, sockets)
    # Whoever waited hears that its answer is lost, and waits for no time-out.
    status = int((await held).split(b" ", 2)[1])
    assert status in (200, 502, 503)
    told = time.monotonic() - begin
    for number in range(20):
        for socket in sockets:
            socket.send(str(number))
    for socket in sockets:
        # What is left of the group's messages comes first.
        got = [await socket.receive() for _ in range(20)]
        while got[-1] != "19":
            got.append(await socket.receive())
        assert [text for text in got if not text.startswith("all:")] == [
            str(number) for number in range(20)
        ]
        socket.close()
    say(
        "Redis killed under open sockets",
        sockets=len(sockets),
        serves_after=served,
        groups_after=reached,
        held_request_answered=status,
        after=told,
    )


def test_the_ipc_host_killed_under_open_sockets_of_others() -> None:
    with split("ipc") as site:
        host = site.worker()
        fronts, _ = parts(site)
        asyncio.run(asyncio.wait_for(host_dies(host, fronts), PATIENCE * 2))
        for front in fronts:
            assert "Traceback" not in front.log(), front.log()


async def host_dies(host: Part, fronts: list[Part]) -> None:
    sockets = await open_sockets(fronts)
    front, other = fronts
    await reaches_all(front.port, sockets)
    host.kill()
    served = await serves(front.port)
    reached = await reaches_all(other.port, sockets)
    for socket in sockets:
        socket.send("still there?")
    for socket in sockets:
        while (text := await socket.receive()) != "still there?":
            assert text.startswith("all:")
        socket.close()
    say(
        "IPC host killed under open sockets",
        sockets=len(sockets),
        serves_after=served,
        groups_after=reached,
    )


def test_a_layer_whose_store_comes_after_it_is_used_when_it_is_there() -> None:
    with redis_server() as server, split("redis") as site:
        site.layer = server.url
        server.kill()
        front, worker = site.begin_interface(), site.begin_worker()

        async def visit() -> None:
            for part in (front, worker):
                await eventually(
                    "it says that it waits", lambda part=part: "cannot be reached yet" in part.log()
                )
                assert not part.is_ready()
            server.start()
            for part in (front, worker):
                await eventually("it is ready", part.is_ready)
            await ask(front.port, "/pid/")
            socket = await Socket.open(front.port)
            await socket.echo("hello")
            socket.close()
            await until(
                front.port, "/members/everyone/", lambda answer: not answer["members"], PATIENCE
            )

        asyncio.run(asyncio.wait_for(visit(), PATIENCE * 2))


def test_sockets_that_speak_while_the_store_is_away_are_told_to_come_back() -> None:
    with redis_server() as server, split("redis") as site:
        site.layer = server.url
        fronts, _ = parts(site)

        async def visit() -> None:
            speaks, listens = await Socket.open(fronts[0].port), await Socket.open(fronts[0].port)
            server.kill()
            speaks.send("hello?")
            with pytest.raises(Closed, match="1013"):
                await asyncio.wait_for(speaks.receive(), PATIENCE)
            server.start()
            await serves(fronts[0].port)
            await listens.echo("hello")
            speaks.close()
            # Its memberships end, though the store was away when it left.
            await until(
                fronts[1].port,
                "/members/everyone/",
                lambda answer: len(answer["members"]) == 1,
                PATIENCE,
            )
            listens.close()

        asyncio.run(asyncio.wait_for(visit(), PATIENCE * 2))
