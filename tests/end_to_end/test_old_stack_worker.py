"""An interface server of ours before a worker of the old stack, over asgi_redis."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.clients import Socket, get
from tests.layers.third_party.folder import folder
from tests.processes import CLEAN_EXITS, Served, free_port, launched, served
from tests.redis_servers import redis_server

OLD_STACK = Path(__file__).with_name("old_stack")

WAIT = 120.0
"""Seconds for what must come."""

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="asgi_redis and its libraries run on no Python after 3.11"
)


@pytest.fixture
def server() -> Iterator[Served]:
    port = free_port()
    with redis_server() as redis, tempfile.NamedTemporaryFile(suffix=".log") as log:
        root = Path(__file__).parent.parent.parent
        environment = {
            "CHANSERV_TEST_REDIS": f"unix://{redis.path}?db=0",
            "PYTHONPATH": os.pathsep.join(map(str, (folder(), OLD_STACK, root))),
        }
        worker = launched(
            [sys.executable, "old_worker.py"], output=log.file, cwd=OLD_STACK, env=environment
        )
        command = [
            "twistd", "-n", "--pidfile=", "chanserv",
            "--layer=old_layer:channel_layer", f"--listen=tcp:{port}:interface=127.0.0.1",
        ]  # fmt: skip
        try:
            with served(command, port=port, cwd=OLD_STACK, env=environment) as server:
                yield server
        finally:
            worker.kill()
            worker.wait()


def test_it_answers_requests_and_sockets_and_sends_to_groups(server: Served) -> None:
    async def visit() -> None:
        for number in range(5):
            answer = await get(server.port, f"/{number}")
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.endswith(b"answered /%d" % number)
        sockets = [await Socket.open(server.port) for _ in range(5)]
        for number, socket in enumerate(sockets):
            socket.send(f"from {number}")
            for member in sockets:
                assert await member.receive() == f"from {number}"
        for socket in sockets:
            socket.close()

    asyncio.run(asyncio.wait_for(visit(), WAIT))
    assert server.stop() in CLEAN_EXITS
    assert "Traceback" not in server.log()
