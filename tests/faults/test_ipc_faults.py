"""What the IPC layer makes of each fault, with processes that speak it under load.

See C{test_redis_faults}, which holds the other layer to the same.
"""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.processes import Crowd, DriverProcess, crowd, say, wait_for
from tests.faults.test_redis_faults import COUNT, RATE, under_way, well_again


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return {
        "BACKEND": "chanserv.layers.ipc.IPCChannelLayer",
        "CONFIG": {"prefix": f"faults-{secrets.token_hex(4)}"},
    }


@contextmanager
def hosted(spec: str) -> Iterator[tuple[DriverProcess, Crowd]]:
    """A crowd, and before it one process more, which so is the host."""
    host = DriverProcess("host", spec=spec, box="host!", members=5)
    try:
        wait_for("the host is ready", lambda: host.ready)
        with crowd(spec) as them:
            yield host, them
    finally:
        host.end()


def test_the_host_killed_under_load(spec: str) -> None:
    with hosted(spec) as (host, them):
        under_way(them)
        host.kill()
        well_again(them, "IPC host killed")


def test_one_host_after_the_other_killed(spec: str) -> None:
    with hosted(spec) as (host, them):
        host.kill()
        for owner in list(them.owners):
            them.flows()
            owner.kill()
            them.owners.remove(owner)
        well_again(them, "three processes killed, hosts among them")


def test_the_host_ended_in_order_under_load(spec: str) -> None:
    with hosted(spec) as (host, them):
        under_way(them)
        host.end()
        well_again(them, "IPC host ended")


def test_the_host_paused_for_five_seconds(spec: str) -> None:
    with hosted(spec) as (host, them):
        under_way(them)
        host.signal(signal.SIGSTOP)
        time.sleep(5)
        host.signal(signal.SIGCONT)
        well_again(them, "IPC host paused for 5 s")


def test_a_worker_that_is_stopped_does_not_hold_up_the_others(spec: str) -> None:
    with hosted(spec) as (_, them):
        under_way(them)
        stopped = them.workers[0]
        stopped.signal(signal.SIGSTOP)
        flows = them.flows()
        groups = them.group_reaches_all()
        stopped.signal(signal.SIGCONT)
        well_again(
            them, "worker stopped by SIGSTOP", others_flow_after=flows, groups_meanwhile=groups
        )


def test_an_owner_that_is_stopped_does_not_hold_up_the_others(spec: str) -> None:
    with hosted(spec) as (_, them):
        stopped, other = them.owners
        stopped.signal(signal.SIGSTOP)
        alone = them.group_reaches_all([other])
        them.load(COUNT, RATE)
        flows = them.flows()
        stopped.signal(signal.SIGCONT)
        well_again(
            them,
            "owner stopped by SIGSTOP",
            the_other_reached_after=alone,
            others_flow_after=flows,
        )


def test_a_worker_that_is_killed_loses_what_it_had_and_no_more(spec: str) -> None:
    with hosted(spec) as (_, them):
        under_way(them)
        them.workers[0].kill()
        wait_for("the load is over", lambda: them.sender.over)
        well_again(them, "worker killed")
        say("counts", **them.sender.statistics())
