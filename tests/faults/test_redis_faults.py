"""
What a layer on Redis makes of each fault, with processes that speak it under load.

After each: traffic flows again with nobody started anew, groups reach every open
member, nothing arrives twice, and whoever sent a message knows what became of it.
C{-s} shows the figures.
"""

from __future__ import annotations

import signal
import time

from tests.faults.processes import LONG, Crowd, DriverProcess, crowd, say, wait_for
from tests.redis_servers import redis_server, redis_servers, redis_with_sentinels

RATE = 400.0
"""Messages a second: far from what Redis can do, so that a busy machine keeps up."""

SECONDS = 2.0 * LONG
"""How long messages are sent, with the fault in the midst of it."""

COUNT = round(RATE * SECONDS)


def under_way(all_of_them: Crowd) -> None:
    """Begin the load, and wait until it flows."""
    all_of_them.load(COUNT, RATE)
    wait_for("the load flows", lambda: len(all_of_them.got) > COUNT // 4)


def well_again(them: Crowd, title: str, **figures: object) -> None:
    """Hold all that is promised after a fault, and print what it has cost."""
    flows = them.flows()
    groups = them.group_reaches_all()
    them.every_fate_is_known()
    them.losses_add_up()
    say(title, **figures, flows_after=flows, groups_after=groups, **them.figures())


def test_redis_killed_and_started_again_empty() -> None:
    with redis_server() as server, crowd(server.url) as them:
        assert them.group_reaches_all() >= 0
        under_way(them)
        server.kill()
        time.sleep(0.5)
        server.start()
        well_again(them, "Redis killed, started again empty")


def test_redis_started_again_empty_before_a_new_member_has_had_any_message() -> None:
    with redis_server() as server, crowd(server.url, owners=1, workers=1) as them:
        server.kill()
        server.start()
        well_again(them, "Redis killed just after its members joined")


def test_redis_killed_and_started_again_with_its_data() -> None:
    with redis_server(keeps_data=True) as server, crowd(server.url) as them:
        under_way(them)
        server.kill()
        time.sleep(0.5)
        server.start()
        well_again(them, "Redis killed, started again with its data")


def test_the_script_cache_flushed() -> None:
    with redis_server() as server, crowd(server.url) as them:
        under_way(them)
        for _ in range(5):
            server.command("SCRIPT", "FLUSH")
            time.sleep(0.05)
        well_again(them, "script cache flushed")
        assert not them.sender.failed
        figures = them.figures()
        assert figures["received"] == figures["receipt settled"] == figures["sent"]


def test_redis_paused_for_five_seconds() -> None:
    with redis_server() as server, crowd(server.url) as them:
        under_way(them)
        server.pause()
        time.sleep(5)
        server.resume()
        well_again(them, "Redis paused for 5 s")


def test_a_master_that_is_gone_and_a_replica_in_its_place() -> None:
    with redis_with_sentinels() as setup, crowd(setup.url) as them:
        under_way(them)
        begin = time.monotonic()
        setup.master.kill()
        well_again(them, "Sentinel fail-over", since_the_kill=time.monotonic() - begin)


def test_each_of_three_shards_gone_in_its_turn_and_back_empty() -> None:
    with redis_servers(3) as servers, crowd(",".join(one.url for one in servers)) as them:
        for number, server in enumerate(servers):
            before = len(them.got)
            them.load(COUNT // 2, RATE)
            wait_for("the load flows", lambda before=before: len(them.got) > before + COUNT // 8)
            server.kill()
            wait_for("the load is over", lambda: them.sender.over)
            server.start()
            well_again(them, f"shard {number + 1} of 3 killed, started again empty")


def test_while_a_shard_is_gone_the_others_do_their_part() -> None:
    with redis_servers(3) as servers, crowd(",".join(one.url for one in servers)) as them:
        served = 0
        for server in servers:
            server.kill()
            before = len(them.got)
            them.load(COUNT // 4, RATE)
            wait_for("the load is over", lambda: them.sender.over)
            first = them.next_number - COUNT // 4
            wait_for(
                "all have been answered",
                lambda first=first: all(them.answered(n) for n in range(first, them.next_number)),
            )
            # The sender's own shard is one of the three.
            served += len(them.got) > before
            server.start()
            them.flows()
        assert served >= 2
        well_again(them, "one shard after the other away", served_meanwhile=f"{served} of 3")


def test_a_worker_that_is_stopped_and_goes_on() -> None:
    with redis_server() as server, crowd(server.url) as them:
        under_way(them)
        stopped = them.workers[0]
        stopped.signal(signal.SIGSTOP)
        them.every_fate_is_known()
        flows = them.flows()
        stopped.signal(signal.SIGCONT)
        them.load(COUNT // 2, RATE)
        before = len(stopped.got)
        well_again(them, "worker stopped by SIGSTOP", others_flow_after=flows)
        wait_for("the stopped worker works again", lambda: keeps_busy(them, stopped, before))


def keeps_busy(them: Crowd, worker: DriverProcess, before: int) -> bool:
    them.load(20, 1000)
    wait_for("sent", lambda: them.sender.over)
    time.sleep(0.2)
    return len(worker.got) > before


def test_an_owner_that_is_stopped_and_goes_on_has_its_members_again() -> None:
    with redis_server() as server, crowd(server.url) as them:
        stopped, other = them.owners
        stopped.signal(signal.SIGSTOP)
        # Long enough to be taken for dead.
        time.sleep(6)
        alone = them.group_reaches_all([other])
        stopped.signal(signal.SIGCONT)
        well_again(them, "owner stopped by SIGSTOP", the_other_reached_after=alone)


def test_a_worker_that_is_killed_loses_what_it_had_and_no_more() -> None:
    with redis_server() as server, crowd(server.url, workers=3) as them:
        under_way(them)
        them.workers[0].kill()
        well_again(them, "worker killed")
