"""Two interface servers and two workers, with requests over IPC and replies over Redis."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.clients import Socket, ask, get, until
from tests.end_to_end.split import PATIENCE, Split, eventually
from tests.processes import CLEAN_EXITS
from tests.redis_servers import redis_server


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Split]:
    with ExitStack() as stack:
        server = stack.enter_context(redis_server())
        monkeypatch.setenv("CHANSERV_TEST_REDIS", server.url)
        # The path of a socket is short.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp")))
        os.chmod(folder, 0o700)
        made = Split("site_under_test.redis_local:layer", folder, stack)
        stack.callback(lambda: [part.stop() for part in made.parts])
        yield made


def test_requests_bodies_sockets_and_groups_find_their_way(site: Split) -> None:
    parts = [site.begin_interface(), site.begin_interface(), site.begin_worker()]
    parts.append(site.begin_worker())
    for part in parts:
        part.wait_until_ready()
    one, other, *workers = parts

    async def visit() -> None:
        pids = {(await ask(one.port, "/pid/"))["pid"] for _ in range(4)}
        assert pids <= {worker.pid for worker in workers}
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            url = f"http://127.0.0.1:{other.port}/about/"
            about = (await client.post(url, content=b"x" * 1_000_000)).json()
        assert about["body"] == 1_000_000
        assert len(await get(one.port, "/stream/3/")) > 3 * 1024 * 1024
        sockets = [await Socket.open(port) for port in (one.port, other.port) * 3]
        for number in range(50):
            for socket in sockets:
                socket.send(str(number))
        for socket in sockets:
            assert [await socket.receive() for _ in range(50)] == [str(n) for n in range(50)]
        for number, socket in enumerate(sockets):
            socket.send(f"all:{number}")
            for member in sockets:
                assert await member.receive() == f"all:{number}"
        for socket in sockets:
            socket.close()
        await until(one.port, "/members/everyone/", lambda answer: not answer["members"], PATIENCE)

    asyncio.run(asyncio.wait_for(visit(), PATIENCE * 2))
    for part in parts:
        assert part.stop() in CLEAN_EXITS
        assert "Traceback" not in part.log()


def test_a_worker_that_dies_is_known_at_once_and_another_serves(site: Split) -> None:
    front, worker = site.begin_interface(), site.begin_worker()
    for part in (front, worker):
        part.wait_until_ready()

    async def visit() -> bytes:
        waiting = asyncio.create_task(get(front.port, "/hold/first/"))
        await eventually("the view has begun", lambda: site.holders("first"))
        worker.kill()
        answer = await waiting
        site.worker()
        assert (await get(front.port, "/")).endswith(b"hello")
        return answer

    answer = asyncio.run(asyncio.wait_for(visit(), PATIENCE * 2))
    assert answer.startswith(b"HTTP/1.1 502 ")
