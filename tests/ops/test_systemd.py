"""Tests for C{chanserv.ops.systemd}: what arrives at the socket of C{sd_notify(3)}."""

from __future__ import annotations

import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from chanserv.ops.systemd import Notices
from tests.end_to_end.split import PATIENCE
from tests.processes import CLEAN_EXITS, launched, wait_until

SITE = Path(__file__).resolve().parents[1] / "end_to_end"


@pytest.fixture(params=["path", "abstract"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """What the environment names, and the socket behind it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        if request.param == "path":
            named = str(tmp_path / "notify")
            server.bind(named)
        else:
            named = f"@chanserv-{secrets.token_hex(8)}"
            server.bind("\0" + named[1:])
        server.settimeout(PATIENCE)
        yield named, server


def test_it_says_that_it_is_ready_and_that_it_ends(place: tuple[str, socket.socket]) -> None:
    named, server = place
    notices = Notices(named)
    notices.ready("mysite\nwith 4 threads")
    assert server.recv(4096) == b"READY=1\nSTATUS=mysite with 4 threads"
    notices.stopping()
    assert server.recv(4096) == b"STOPPING=1\nSTATUS=stopping"


def test_the_address_is_for_no_child_of_this_process() -> None:
    environment = {"NOTIFY_SOCKET": "/run/systemd/notify", "HOME": "/"}
    Notices.from_environment(environment)
    assert environment == {"HOME": "/"}


def test_without_systemd_nothing_is_said() -> None:
    with capturedLogs() as logs:
        Notices.from_environment({}).ready("mysite")
    assert logs == []


def test_a_socket_that_is_gone_is_logged_and_no_error(tmp_path: Path) -> None:
    with capturedLogs() as logs:
        Notices(str(tmp_path / "gone")).ready("mysite")
    (text,) = [formatEvent(event) for event in logs]
    assert "No such file" in text
    assert str(tmp_path / "gone") in text


def test_twistd_tells_systemd_when_it_is_ready_and_when_it_ends(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        tempfile.TemporaryFile() as output,
    ):
        server.bind(str(tmp_path / "notify"))
        server.settimeout(PATIENCE)
        process = launched(
            [
                *("twistd", "-n", "--pidfile=", "chanserv"),
                *("--settings=site_under_test.settings", "--listen=tcp:0:interface=127.0.0.1"),
            ],
            output=output,
            cwd=SITE,
            env={"NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        try:
            assert server.recv(4096).startswith(b"READY=1\nSTATUS=site_under_test.settings")
            process.terminate()
            assert server.recv(4096).startswith(b"STOPPING=1\n")
            wait_until(lambda: process.poll() is not None, PATIENCE)
            assert process.returncode in CLEAN_EXITS
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def test_it_says_that_it_replaces_its_workers_and_when(place: tuple[str, socket.socket]) -> None:
    named, server = place
    before = time.monotonic_ns() // 1000
    Notices(named).reloading("replacing workers")
    first, second, third = server.recv(4096).decode().splitlines()
    assert (first, third) == ("RELOADING=1", "STATUS=replacing workers")
    name, _, microseconds = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000


def test_the_watchdog_hears_of_it_twice_in_its_time(place: tuple[str, socket.socket]) -> None:
    named, server = place
    clock = Clock()
    environment = {"NOTIFY_SOCKET": named, "WATCHDOG_USEC": "10000000"}
    notices = Notices.from_environment(environment)
    assert environment == {}
    notices.begin_signs_of_life(clock.callLater)
    clock.pump([5, 5])
    assert [server.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    notices.end_signs_of_life()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "soon"},
        # It is another process that systemd watches.
        {"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"},
    ],
)
def test_nobody_hears_of_it_who_has_not_asked(
    place: tuple[str, socket.socket], environment: dict[str, str]
) -> None:
    named, server = place
    clock = Clock()
    notices = Notices.from_environment({"NOTIFY_SOCKET": named, **environment})
    notices.begin_signs_of_life(clock.callLater)
    assert clock.getDelayedCalls() == []
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(4096)
