"""Whatever comes in on the port costs its own connection only."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests.end_to_end import garbage
from tests.end_to_end.clients import Socket, get
from tests.end_to_end.conftest import Start
from tests.processes import CLEAN_EXITS

pytestmark = pytest.mark.load

INPUTS = 10_400
AT_ONCE = 40
CHECK_EVERY = 520

PATIENCE_SECONDS = 0.15
"""How long an input's connection stays to hear what the server says of it."""

GROWTH_KB = 60_000
"""What the process may hold more than before: the thread pools, caches and
fragments of a busy server, but not a connection's worth for each input."""

COMPLAINT = re.compile(r"Traceback|Unhandled|CRITICAL", re.IGNORECASE)


async def throw(port: int, data: bytes) -> None:
    """Send one input on its own connection and wait a little for its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await reader.read()
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()


async def throw_all(port: int, inputs: Iterator[bytes]) -> None:
    async def thrower() -> None:
        for data in inputs:
            await throw(port, data)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(thrower())


def in_parts(inputs: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    for _ in range(0, INPUTS, CHECK_EVERY):
        yield (next(inputs) for _ in range(CHECK_EVERY))


def test_ten_thousand_wrong_inputs_cost_their_own_connections_only(start: Start) -> None:
    server = start()

    async def scenario() -> None:
        witness = await Socket.open(server.port)
        await witness.echo("before")
        for number, part in enumerate(in_parts(garbage.inputs(INPUTS, seed=20))):
            await throw_all(server.port, part)
            async with asyncio.timeout(30):
                assert (await get(server.port)).endswith(b"hello")
                await witness.echo(f"after part {number}")
            if number == 0:
                grown.append(server.resident_kb())
        grown.append(server.resident_kb())
        witness.close()

    grown: list[int] = []
    asyncio.run(scenario())
    first, last = grown
    assert last - first < GROWTH_KB, f"{last - first} KB more after {INPUTS} inputs"
    complaint = COMPLAINT.search(server.log())
    assert complaint is None, server.log()[max(0, complaint.start() - 500) :][:3000]
    assert server.stop() in CLEAN_EXITS


def test_the_inputs_are_of_every_kind_and_the_same_for_the_same_seed() -> None:
    some = list(garbage.inputs(400, seed=1))
    assert some == list(garbage.inputs(400, seed=1))
    assert len(set(some)) > 200
    assert sum(data.startswith(garbage.HANDSHAKE) for data in some) >= 50
