"""
Load and time: the same code in a short form here, and whole by C{make soak}.

C{CHANSERV_SOAK_SECONDS} sets how long each holds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys

import pytest

from tests.end_to_end.clients import Socket
from tests.end_to_end.conftest import Start
from tests.processes import CLEAN_EXITS

pytestmark = pytest.mark.load

SECONDS = int(os.environ.get("CHANSERV_SOAK_SECONDS", "6"))

SOCKETS = 2_000

GROWTH_KB = 12_000
"""What a process may grow by between the middle of a load and its end: the
unevenness of an allocator, not something kept for each request."""


def load(port: int, seconds: int) -> str:
    """What C{wrk} reports of 64 connections that ask for one view."""
    wrk = shutil.which("wrk")
    assert wrk is not None, "wrk is missing: apt-get install wrk"
    return subprocess.run(
        [wrk, "-t1", "-c64", f"-d{seconds}s", f"http://127.0.0.1:{port}/"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_a_loaded_view_gives_no_error_and_memory_stays_flat(start: Start) -> None:
    server = start()
    half = max(2, SECONDS // 2)
    first = load(server.port, half)
    middle = server.resident_kb()
    second = load(server.port, half)
    end = server.resident_kb()
    for report in (first, second):
        assert "Non-2xx" not in report, report
        assert "Socket errors" not in report, report
    figures = f"{second}\n{middle} KB in the middle, {end} KB at the end\n"
    sys.stdout.write(figures)
    assert end - middle < GROWTH_KB, figures
    assert server.stop() in CLEAN_EXITS


def test_two_thousand_sockets_stay_open_and_each_echoes_once_a_second(start: Start) -> None:
    server = start("--max-connections=4000")

    async def live(sockets: list[Socket], number: int) -> int:
        socket = sockets[number]
        await asyncio.sleep(number / SOCKETS)
        loop = asyncio.get_running_loop()
        start = loop.time()
        for beat in range(SECONDS):
            await asyncio.sleep(max(0, start + beat - loop.time()))
            await socket.echo(f"{number} {beat}")
        return SECONDS

    async def scenario() -> int:
        sockets: list[Socket] = []
        for _ in range(0, SOCKETS, 50):
            sockets += await asyncio.gather(*(Socket.open(server.port) for _ in range(50)))
        echoes = await asyncio.gather(*(live(sockets, number) for number in range(SOCKETS)))
        for socket in sockets:
            socket.close()
        return sum(echoes)

    assert asyncio.run(scenario()) == SOCKETS * SECONDS
    assert server.stop() in CLEAN_EXITS
