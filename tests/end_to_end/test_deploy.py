"""
New code, again and again, under sockets that stay open and go on talking.

C{make soak} does the same with more sockets, and more often.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

from chanserv.server.open_files import make_room
from tests.end_to_end.crowd import Crowd
from tests.end_to_end.deployed import Deployed, deployed
from tests.end_to_end.split import Part, eventually
from tests.processes import CLEAN_EXITS
from tests.redis_servers import redis_server

FACTOR = 2 if int(os.environ.get("CHANSERV_SOAK_SECONDS", "6")) >= 60 else 1

SOCKETS = 1000 * FACTOR

SPLIT_SOCKETS = 150 * FACTOR
"""At each of two interface servers."""

TIMES = 10 * FACTOR
"""How often workers are replaced."""

PERIOD = 5.0 * FACTOR
"""Seconds between two messages of one socket: some two hundred a second of all."""

LONGEST = 500.0
"""Seconds after which a test is given up, on a machine however slow."""

SITE = "--settings=deployed.settings"
WORKERS = ("--no-listen", SITE, "--workers=1")
INTERFACE = (
    "--listen=tcp:0:interface=127.0.0.1",
    # A machine may be however slow: what waits for its workers is to wait on.
    *("--full-patience=5m", "--park-seconds=5m", "--park-messages=20000"),
)

pytestmark = pytest.mark.load


def visit_to(visit: Coroutine[Any, Any, None]) -> None:
    """Run C{visit} to its end."""
    asyncio.run(asyncio.wait_for(visit, LONGEST))


async def nobody_works_for_a_while(site: Deployed, crowd: Crowd, supervisors: list[Part]) -> None:
    """End all workers, let clients talk on, and start others."""
    for one in supervisors:
        one.process.send_signal(signal.SIGTERM)
    await eventually("all have ended", lambda: all(one.has_ended() for one in supervisors))
    said = crowd.messages
    await eventually("clients talk on", lambda: crowd.messages > said + len(crowd.talkers))
    version = site.write()
    site.begin(*WORKERS)
    await crowd.until_answered_by(version)


def check_ends(site: Deployed) -> None:
    """Each process ends in order, and none has had an error of ours."""
    for part in site.parts:
        assert part.stop() in CLEAN_EXITS
        # That of the code that cannot be imported is the site's.
        assert part.log().count("Traceback") == 0, part.log()
        assert "lost" not in part.log()


@pytest.mark.timeout(600)
def test_a_thousand_sockets_hear_nothing_of_ten_deployments() -> None:
    make_room(SOCKETS)
    with deployed("ipc") as site:
        server = site.begin(*INTERFACE, SITE, "--workers=2")
        server.wait_until_ready()

        async def visit() -> None:
            async with Crowd.come([server.port], SOCKETS, PERIOD) as crowd:
                for number in range(TIMES):
                    await site.deploy(crowd, server)
                    if number == TIMES // 3:
                        await site.deploy_broken_code(crowd, server)
                    if number == TIMES // 3 * 2:
                        await site.kill_a_worker(crowd)
                await crowd.go()
            await site.check_runs(crowd)
            sys.stdout.write(f"one server: {crowd.figures()}")
            assert {version for version, _ in crowd.by_worker} >= {
                f"v{number + 2}" for number in range(TIMES)
            }

        visit_to(visit())
        check_ends(site)


@pytest.mark.timeout(600)
def test_the_same_over_redis_with_two_interface_servers_and_two_groups_of_workers() -> None:
    make_room(2 * SPLIT_SOCKETS)
    with redis_server() as redis, deployed(redis.url) as site:
        fronts = [site.begin(*INTERFACE) for _ in range(2)]
        supervisors = [site.begin(*WORKERS) for _ in range(2)]
        for part in (*fronts, *supervisors):
            part.wait_until_ready()

        async def visit() -> None:
            ports = [front.port for front in fronts]
            async with Crowd.come(ports, SPLIT_SOCKETS, PERIOD / 3) as crowd:
                for number in range(TIMES):
                    supervisor = supervisors[number % 2]
                    await site.deploy(crowd, supervisor)
                    if number == TIMES // 3:
                        await site.deploy_broken_code(crowd, supervisor)
                        site.write()
                    if number == TIMES // 3 * 2:
                        await site.kill_a_worker(crowd)
                figures = crowd.figures()
                await nobody_works_for_a_while(site, crowd, supervisors)
                await crowd.go()
            await site.check_runs(crowd)
            sys.stdout.write(f"split over Redis: {figures}then, with no worker for a while: ")
            sys.stdout.write(crowd.figures())

        visit_to(visit())
        check_ends(site)
