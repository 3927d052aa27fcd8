"""A whole server over a channel layer of the ASGI 1 kind, which is the site's own."""

from __future__ import annotations

import asyncio
import hashlib

import httpx
import pytest

from tests.end_to_end.clients import Socket, get, until
from tests.end_to_end.conftest import Start
from tests.processes import CLEAN_EXITS, Served

WAIT = 120.0
"""Seconds for what must come."""


@pytest.fixture(scope="module")
def server(start_for_module: Start) -> Served:
    return start_for_module("--layer=site_under_test.asgi1:channel_layer")


def test_requests_are_answered_and_large_bodies_read(server: Served) -> None:
    url = f"http://127.0.0.1:{server.port}"
    body = b"x" * 1_000_000
    with httpx.Client(timeout=WAIT) as client:
        for _ in range(10):
            assert client.get(f"{url}/").text == "hello"
        answer = client.post(f"{url}/digest/", content=body).text
    assert answer == hashlib.sha256(body).hexdigest()


def test_sockets_talk_alone_and_in_groups_and_leave_them_as_they_close(server: Served) -> None:
    async def talk() -> None:
        port = server.port
        sockets = [await Socket.open(port, "/group/crowd/") for _ in range(20)]
        await asyncio.gather(*(one.echo(f"echo {number}") for number, one in enumerate(sockets)))
        await get(port, "/send/crowd/5/")
        for socket in sockets:
            assert [await socket.receive() for _ in range(5)] == [str(n) for n in range(5)]
        for socket in sockets:
            socket.close()
        await until(port, "/members/crowd/", lambda answer: not answer["members"], WAIT)

    asyncio.run(asyncio.wait_for(talk(), WAIT))


def test_a_stop_is_as_clean_as_ever(start: Start) -> None:
    server = start("--layer=site_under_test.asgi1:channel_layer")
    assert asyncio.run(get(server.port)).endswith(b"hello")
    assert server.stop() in CLEAN_EXITS
    assert "Traceback" not in server.log()
