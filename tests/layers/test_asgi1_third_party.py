"""
The contract suite over real layers of the old stack, as they are on PyPI.

They need libraries in versions of their own; so each suite runs in a process
that looks for them first: see C{tests/layers/third_party}.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.layers.third_party.folder import folder
from tests.redis_servers import redis_server

SUITES = Path(__file__).with_name("third_party")

ROOT = SUITES.parent.parent.parent

MOST_SECONDS = 800
"""How long a suite may take: many times what it needs, for a machine that does
much else."""

IGNORED = ("DeprecationWarning", "PendingDeprecationWarning")
"""Warnings that libraries of that age are bound to give."""

needs_python_311 = pytest.mark.skipif(
    sys.version_info >= (3, 12),
    reason="asgi_redis, asgi_ipc and their libraries run on no Python after 3.11",
)


def run(suite: str, **environment: str) -> None:
    """Run a suite; where it fails, say what it says."""
    path = os.pathsep.join([str(folder()), str(ROOT)])
    command = [sys.executable, "-m", "pytest", str(SUITES / suite), "-q", "-p", "no:cacheprovider"]
    for warning in IGNORED:
        command += ["-W", f"ignore::{warning}"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{suite} fails:\n{done.stdout[-20_000:]}\n{done.stderr[-5_000:]}", False)


@pytest.mark.timeout(MOST_SECONDS + 100)
def test_the_contract_holds_over_asgirefs_memory_layer() -> None:
    run("suite_inmemory.py")


@needs_python_311
@pytest.mark.timeout(MOST_SECONDS + 100)
def test_the_contract_holds_over_asgi_ipc() -> None:
    run("suite_ipc.py")


@needs_python_311
@pytest.mark.timeout(MOST_SECONDS + 100)
def test_the_contract_holds_over_asgi_redis() -> None:
    with redis_server() as server:
        run("suite_redis.py", CHANSERV_TEST_REDIS=f"unix://{server.path}?db=0")
