"""
What the IPC layer makes of each fault, with processes that speak it under load.

See C{test_redis_faults}, which holds the other layer to the same.
"""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.faults.processes import Crowd, DriverProcess, crowd, fault, wait_for


@contextmanager
def hosted() -> Iterator[tuple[DriverProcess, Crowd]]:
    """A crowd, and before it one process more, which so is the host."""
    with ExitStack() as stack:
        # The path of a socket is short.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp"))
        os.chmod(folder, 0o700)
        spec, config = f"ipc:{secrets.token_hex(4)}", {"directory": folder}
        host = DriverProcess("host", spec=spec, config=config, box="host!", members=5)
        stack.callback(host.end)
        wait_for("the host is ready", lambda: host.ready)
        them = stack.enter_context(crowd(spec, workers=3, **config))
        assert "hosts the hub" in host.log()
        yield host, them


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[DriverProcess, Crowd]]:
    with hosted() as both:
        yield both


@pytest.fixture
def host(both: tuple[DriverProcess, Crowd]) -> DriverProcess:
    return both[0]


@pytest.fixture
def them(both: tuple[DriverProcess, Crowd]) -> Crowd:
    return both[1]


def test_a_worker_is_stopped_and_does_not_hold_up_the_others(them: Crowd) -> None:
    stopped = them.workers[0]
    with fault(them, "worker stopped by SIGSTOP") as figures:
        them.under_way()
        stopped.signal(signal.SIGSTOP)
        figures["others_flow_after"] = them.flows()
        figures["groups_meanwhile_after"] = them.group_reaches_all()
        stopped.signal(signal.SIGCONT)


def test_an_owner_is_stopped_and_does_not_hold_up_the_others(them: Crowd) -> None:
    stopped, other = them.owners
    with fault(them, "owner stopped by SIGSTOP") as figures:
        stopped.signal(signal.SIGSTOP)
        figures["the_other_reached_after"] = them.group_reaches_all([other])
        them.under_way()
        figures["others_flow_after"] = them.flows()
        stopped.signal(signal.SIGCONT)


def test_the_host_is_paused_for_five_seconds(host: DriverProcess, them: Crowd) -> None:
    with fault(them, "IPC host paused for 5 s"):
        them.under_way()
        host.signal(signal.SIGSTOP)
        time.sleep(5)
        host.signal(signal.SIGCONT)


def test_a_worker_is_killed(them: Crowd) -> None:
    with fault(them, "worker killed"):
        them.under_way()
        them.workers[-1].kill()


def test_the_host_is_killed_under_load(host: DriverProcess, them: Crowd) -> None:
    with fault(them, "IPC host killed"):
        them.under_way()
        host.kill()


def test_the_host_ends_in_order_under_load() -> None:
    with hosted() as (host, them):
        with fault(them, "IPC host ended"):
            them.under_way()
            host.end()
        # Whoever is the host now, among them: each of these may be, and what one hub
        # has counted ends with it.
        with fault(them, "half of the others killed", counts=False):
            them.under_way()
            for one in (them.workers[0], them.owners.pop(0), them.workers[1]):
                one.kill()
