"""
A site whose sockets end in one process and whose code runs in others: all of it
real, over each layer that processes share.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from tests.end_to_end.clients import Socket, ask, get, until
from tests.end_to_end.split import LAYERS, PATIENCE, Part, Split, eventually, split
from tests.processes import CLEAN_EXITS, wait_until


@pytest.fixture(params=["ipc", "redis"])
def site(request: pytest.FixtureRequest) -> Iterator[Split]:
    with split(request.param) as made:
        yield made


@pytest.fixture(params=LAYERS)
def any_site(request: pytest.FixtureRequest) -> Iterator[Split]:
    with split(request.param) as made:
        yield made


@pytest.fixture(params=["ipc", "redis"])
def redelivering(request: pytest.FixtureRequest) -> Iterator[Split]:
    with split(request.param, redeliver="http.request") as made:
        yield made


def together(split: Split, interfaces: int, workers: int) -> tuple[list[Part], list[Part]]:
    """So many of each, started at once."""
    fronts = [split.begin_interface() for _ in range(interfaces)]
    backs = [split.begin_worker() for _ in range(workers)]
    for part in (*fronts, *backs):
        part.wait_until_ready()
    return fronts, backs


async def post(port: int, path: str, body: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}"
    writer.write(head.encode() + b"\r\n\r\n" + body)
    try:
        return await reader.read()
    finally:
        writer.close()


def visit_to(site: Split, visit: Coroutine[Any, Any, None]) -> None:
    """Run C{visit} to its end; where it fails, show what the processes have logged."""
    try:
        asyncio.run(asyncio.wait_for(visit, PATIENCE * 2))
    except BaseException:
        site.show()
        raise


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_requests_bodies_sockets_and_groups_reach_across_processes(any_site: Split) -> None:
    site = any_site
    (one, other), workers = together(site, 2, 2)

    async def visit() -> None:
        # Requests, by whichever worker.
        pids = {(await ask(one.port, "/pid/"))["pid"] for _ in range(4)}
        assert pids <= {worker.pid for worker in workers}
        # A body in parts, over a channel of its own.
        body = bytes(range(256)) * 8192
        answer = await post(other.port, "/digest/", body)
        assert answer.endswith(hashlib.sha256(body).hexdigest().encode())
        # A response in parts.
        assert len(await get(one.port, "/stream/3/")) > 3 * 1024 * 1024
        # Events in order, many at a time.
        sockets = [await Socket.open(port) for port in (one.port, other.port) * 3]
        for number in range(100):
            for socket in sockets:
                socket.send(str(number))
        for socket in sockets:
            assert [await socket.receive() for _ in range(100)] == [str(n) for n in range(100)]
        # A group over both interface servers.
        for number, socket in enumerate(sockets):
            socket.send(f"all:{number}")
            for member in sockets:
                assert await member.receive() == f"all:{number}"
        for socket in sockets:
            socket.close()
        await until(one.port, "/members/everyone/", lambda answer: not answer["members"], PATIENCE)

    visit_to(site, visit())
    for part in site.parts:
        assert part.stop() in CLEAN_EXITS
        assert "Traceback" not in part.log()


def test_a_worker_killed_in_the_midst_of_a_request_is_a_502_and_the_next_one_serves(
    site: Split,
) -> None:
    (front,), (worker,) = together(site, 1, 1)

    async def visit() -> None:
        waiting = asyncio.create_task(get(front.port, "/hold/first/"))
        await eventually("the view has begun", lambda: site.holders("first"))
        worker.kill()
        assert status_of(await waiting) == 502
        second = asyncio.create_task(ask(front.port, "/pid/"))
        other = site.begin_worker()
        assert (await second)["pid"] == other.pid

    visit_to(site, visit())
    assert front.stop() in CLEAN_EXITS
    assert "1 events of clients were lost" in front.log()


def test_with_redeliver_another_worker_answers_what_a_killed_one_had(redelivering: Split) -> None:
    site = redelivering
    (front,), workers = together(site, 1, 2)

    async def visit() -> None:
        waiting = asyncio.create_task(get(front.port, "/hold/first/"))
        await eventually("the view has begun", lambda: site.holders("first"))
        (holder,) = site.holders("first")
        (victim,) = (one for one in workers if one.pid == holder)
        (heir,) = (one for one in workers if one.pid != holder)
        victim.kill()
        await eventually("the other has begun", lambda: len(site.holders("first")) == 2)
        site.release("first")
        answer = await waiting
        assert status_of(answer) == 200
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"pid": heir.pid}

    visit_to(site, visit())


def test_an_interface_server_that_is_killed_leaves_the_groups_of_its_sockets(site: Split) -> None:
    (victim, other), _ = together(site, 2, 1)

    async def visit() -> None:
        gone = [await Socket.open(victim.port, "/group/crowd/") for _ in range(5)]
        stays = await Socket.open(other.port, "/group/crowd/")
        await until(
            other.port, "/members/crowd/", lambda answer: len(answer["members"]) == 6, PATIENCE
        )
        victim.kill()
        await until(
            other.port, "/members/crowd/", lambda answer: len(answer["members"]) == 1, PATIENCE
        )
        await get(other.port, "/send/crowd/3/")
        assert [await stays.receive() for _ in range(3)] == ["0", "1", "2"]
        for socket in (*gone, stays):
            socket.close()

    visit_to(site, visit())


def test_workers_come_and_go_under_open_sockets_that_lose_nothing(site: Split) -> None:
    (front,), workers = together(site, 1, 1)

    async def talk(socket: Socket, done: asyncio.Event) -> int:
        """Send numbers, each when the one five before it has come back; in order."""
        sent = 0
        for received in range(1_000_000):
            while sent < received + 5 and not done.is_set():
                socket.send(str(sent))
                sent += 1
            if received == sent:
                return sent
            assert await socket.receive() == str(received)
            await asyncio.sleep(0.002)
        raise AssertionError("it was never done")

    async def browse(done: asyncio.Event) -> int:
        """Ask for one page after the other, all of which are to come."""
        pages = 0
        while not done.is_set():
            assert status_of(await get(front.port)) == 200
            pages += 1
        return pages

    async def visit() -> None:
        done = asyncio.Event()
        sockets = [await Socket.open(front.port) for _ in range(10)]
        talks = [asyncio.create_task(talk(socket, done)) for socket in sockets]
        talks += [asyncio.create_task(browse(done)) for _ in range(4)]
        for _ in range(2):
            following = site.begin_worker()
            await eventually("the new worker is ready", following.is_ready)
            leaving = workers.pop()
            leaving.process.send_signal(signal.SIGTERM)
            await eventually(
                "the old one has ended", lambda w=leaving: w.process.poll() is not None
            )
            assert leaving.process.returncode in CLEAN_EXITS
            workers.append(following)
        done.set()
        counts = await asyncio.gather(*talks)
        assert min(counts) > 10
        for socket in sockets:
            socket.close()

    visit_to(site, visit())
    assert "lost" not in front.log()


def test_over_ipc_it_is_the_interface_server_that_hosts_the_hub() -> None:
    """So that a worker may be started anew, and nothing ends with it."""
    with split("ipc") as site:
        worker, front = site.begin_worker(), site.begin_interface()
        for part in (front, worker):
            part.wait_until_ready()
        assert "hosts the hub" in front.log()
        assert "hosts the hub" not in worker.log()
        alone = site.begin_worker()
        alone.wait_until_ready()
        front.stop()

        def workers_host() -> bool:
            return "hosts the hub" in worker.log() + alone.log()

        wait_until(workers_host, PATIENCE)


def test_a_worker_may_be_a_daemon(site: Split) -> None:
    """It forks between the making of its layer and the use of it."""
    front = site.interface()
    with site.daemon("--no-listen", "--settings=site_under_test.settings") as pid:

        async def visit() -> None:
            assert (await ask(front.port, "/pid/"))["pid"] == pid
            socket = await Socket.open(front.port)
            await socket.echo("hello")
            socket.close()

        visit_to(site, visit())


def test_while_no_worker_runs_a_request_waits_for_one(site: Split) -> None:
    front = site.interface()

    async def visit() -> None:
        waiting = asyncio.create_task(ask(front.port, "/pid/"))
        opening = asyncio.create_task(Socket.open(front.port))
        await asyncio.sleep(0.2)
        worker = site.begin_worker()
        assert (await waiting)["pid"] == worker.pid
        socket = await opening
        await socket.echo("hello")
        socket.close()

    visit_to(site, visit())
