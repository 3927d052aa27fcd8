"""
What a layer on Redis makes of each fault, with processes that speak it under load.

After each: traffic flows again with nobody started anew, groups reach every open
member, nothing arrives twice, and whoever sent a message knows what became of it.
Most faults befall the same processes, one after the other.  C{-s} shows the figures.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.faults.processes import COUNT, RATE, Crowd, crowd, fault, wait_for
from tests.redis_servers import (
    RedisServer,
    redis_server,
    redis_servers,
    redis_with_sentinels,
)

OWNER_LEASE = 4.0
"""Seconds after which an owner that says nothing is taken for dead: by default many
more, for which these tests would have to wait."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def them(server: RedisServer) -> Iterator[Crowd]:
    with crowd(server.url, workers=3, owner_lease=OWNER_LEASE) as them:
        yield them


def test_redis_is_killed_and_started_again_empty(server: RedisServer, them: Crowd) -> None:
    with fault(them, "Redis killed, started again empty"):
        them.under_way()
        server.kill()
        time.sleep(0.5)
        server.start()


def test_redis_is_started_again_empty_before_its_members_have_had_any_message() -> None:
    with (
        redis_server() as server,
        crowd(server.url, workers=1) as them,
        fault(them, "Redis killed just after its members joined"),
    ):
        server.kill()
        server.start()


def test_redis_is_killed_and_started_again_with_its_data() -> None:
    with (
        redis_server(keeps_data=True) as server,
        crowd(server.url) as them,
        fault(them, "Redis killed, started again with its data"),
    ):
        them.under_way()
        server.kill()
        time.sleep(0.5)
        server.start()


def test_its_scripts_are_forgotten(server: RedisServer, them: Crowd) -> None:
    with fault(them, "script cache flushed"):
        them.under_way()
        for _ in range(5):
            server.command("SCRIPT", "FLUSH")
            time.sleep(0.05)
    figures = them.figures()
    assert figures["received"] == figures["receipt settled"] == figures["sent"]


def test_redis_is_paused_for_five_seconds(server: RedisServer, them: Crowd) -> None:
    with fault(them, "Redis paused for 5 s"):
        them.under_way()
        server.pause()
        time.sleep(5)
        server.resume()


def test_a_worker_is_stopped_and_goes_on(them: Crowd) -> None:
    stopped = them.workers[0]
    with fault(them, "worker stopped by SIGSTOP") as figures:
        them.under_way()
        stopped.signal(signal.SIGSTOP)
        # What it had is known to be lost; the others do its work.
        them.every_fate_is_known()
        figures["others_flow_after"] = them.flows()
        before = len(stopped.got)
        stopped.signal(signal.SIGCONT)

    def works_again() -> bool:
        them.load(20, 1000)
        wait_for("all is sent", lambda: them.sender.over)
        time.sleep(0.2)
        return len(stopped.got) > before

    wait_for("the worker works again", works_again)


def test_an_owner_is_taken_for_dead_and_has_its_members_again(them: Crowd) -> None:
    stopped, other = them.owners
    with fault(them, "owner stopped by SIGSTOP") as figures:
        assert them.sender.members() == 2 * them.members
        stopped.signal(signal.SIGSTOP)
        figures["taken_for_dead_after"] = wait_for(
            "it is taken for dead", lambda: them.sender.members() == them.members
        )
        figures["the_other_reached_after"] = them.group_reaches_all([other])
        stopped.signal(signal.SIGCONT)


def test_a_worker_is_killed(them: Crowd) -> None:
    with fault(them, "worker killed"):
        them.under_way()
        them.workers[-1].kill()


def test_a_replica_takes_the_place_of_its_master() -> None:
    with (
        redis_with_sentinels() as setup,
        crowd(setup.url) as them,
        fault(them, "Sentinel fail-over"),
    ):
        them.under_way()
        setup.master.kill()


@pytest.fixture(scope="module")
def shards() -> Iterator[list[RedisServer]]:
    with redis_servers(3) as servers:
        yield servers


@pytest.fixture(scope="module")
def on_shards(shards: list[RedisServer]) -> Iterator[Crowd]:
    with crowd(",".join(one.url for one in shards)) as them:
        yield them


@pytest.mark.parametrize("number", range(3))
def test_one_of_three_shards_is_gone_and_comes_back_empty(
    shards: list[RedisServer], on_shards: Crowd, number: int
) -> None:
    them = on_shards
    with fault(them, f"shard {number + 1} of 3 killed, started again empty") as figures:
        them.under_way()
        shards[number].kill()
        wait_for("the load is over", lambda: them.sender.over)
        before, first = len(them.got), them.next_number
        them.load(COUNT // 4, RATE)
        wait_for("the load is over", lambda: them.sender.over)
        wait_for(
            "each of these is refused or has come",
            lambda: all(them.answered(n) for n in range(first, them.next_number)),
        )
        # All of it, or nothing: the sender's own shard is one of the three.
        meanwhile = len(them.got) - before
        assert meanwhile == 0 or meanwhile >= COUNT // 4
        figures["received_meanwhile"] = meanwhile
        shards[number].start()
