"""The units for systemd: systemd's own tools read them, and a socket is really handed over."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.files import adapted, command_lines, source
from tests.end_to_end.clients import Socket, get
from tests.end_to_end.split import PATIENCE, Part
from tests.processes import CLEAN_EXITS, script

SITE = Path(__file__).resolve().parents[1] / "end_to_end"

BIN = str(Path(sys.executable).parent) + "/"

UNITS = (
    "chanserv.socket",
    "chanserv.service",
    "chanserv-front.service",
    "chanserv-workers.service",
)


def verified(folder: Path) -> str:
    """What C{systemd-analyze verify} has against the units of a folder."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(map(str, folder.iterdir()))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # What it says of units of this machine is not ours.
    said = [line for line in done.stderr.splitlines() if "chanserv" in line]
    return "\n".join(said) if said or done.returncode == 0 else done.stderr


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with the units, whose commands are there."""
    for name in UNITS:
        changes = {"/srv/mysite/venv/bin/": BIN} if name.endswith(".service") else {}
        (tmp_path / name).write_text(adapted(name, changes))
    return tmp_path


def test_systemd_has_nothing_against_the_units(units: Path) -> None:
    assert verified(units) == ""


def test_the_socket_may_belong_to_an_interface_server_alone(units: Path) -> None:
    (units / "chanserv.service").unlink()
    sockets = units / "chanserv.socket"
    sockets.write_text(
        sockets.read_text().replace("[Socket]\n", "[Socket]\nService=chanserv-front.service\n")
    )
    assert verified(units) == ""


def test_it_would_have_something_against_a_wrong_one(units: Path) -> None:
    unit = units / "chanserv.service"
    unit.write_text(unit.read_text().replace("Type=notify", "Type=notfy"))
    assert "notfy" in verified(units)


def listen_option() -> str:
    """What the unit listens on."""
    (words,) = command_lines(source("chanserv.service"))
    (option,) = [word for word in words if word.startswith("--listen=")]
    return option


COMMAND = (
    script("twistd"),
    *("-n", "--pidfile=", "chanserv", "--settings=site_under_test.settings", listen_option()),
)


HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""What systemd does between its fork and the service: the socket is the file 3."""


@contextmanager
def running(command: list[str], descriptors: tuple[int, ...] = ()) -> Iterator[Part]:
    """A process with these open files besides the usual ones, until the block ends."""
    with tempfile.NamedTemporaryFile(suffix=".log") as output:
        process = subprocess.Popen(
            command,
            cwd=SITE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
        )
        part = Part(process, output)
        try:
            yield part
        finally:
            part.stop()


async def talk(port: int) -> None:
    """A request and a WebSocket."""
    assert (await get(port)).endswith(b"hello")
    ws = await Socket.open(port)
    await ws.echo("hello")
    ws.close()


def test_the_socket_that_systemd_hands_over_is_served() -> None:
    """By systemd's own program for trying that out; the first connection starts the server."""
    activate = shutil.which("systemd-socket-activate")
    assert activate is not None, "there is no systemd-socket-activate: make programs has it"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [activate, f"--listen=127.0.0.1:{port}", "--fdname=http", *COMMAND]
    with running(command) as part:

        async def visit() -> None:
            # It listens in a moment.
            while True:
                try:
                    await talk(port)
                    return
                except ConnectionRefusedError:
                    assert part.process.poll() is None, part.log()
                    await asyncio.sleep(0.05)

        asyncio.run(asyncio.wait_for(visit(), PATIENCE))
        part.wait_until_ready()
        assert part.stop() in CLEAN_EXITS


def test_no_connection_is_refused_while_the_service_starts_anew() -> None:
    """As systemd does it: the socket stays, and each new process gets it as its file 3."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        port = listening.getsockname()[1]
        command = [sys.executable, "-c", HAND_OVER, str(listening.fileno()), *COMMAND]

        async def visit() -> int:
            answers, over = 0, asyncio.Event()

            async def ask_on_and_on() -> None:
                nonlocal answers
                while not over.is_set():
                    answer = await get(port)
                    assert answer.endswith(b"hello"), answer
                    answers += 1
                    await asyncio.sleep(0.01)

            for round_ in range(3):
                with running(command, (listening.fileno(),)) as part:
                    if not round_:
                        asking = [asyncio.create_task(ask_on_and_on()) for _ in range(4)]
                    before = answers
                    while answers < before + 20:
                        assert part.process.poll() is None, part.log()
                        assert not any(one.done() for one in asking), asking
                        await asyncio.sleep(0.05)
                    if round_ == 2:
                        over.set()
                        await asyncio.gather(*asking)
                    part.process.terminate()
                    while part.process.poll() is None:
                        await asyncio.sleep(0.05)
                    assert part.process.returncode in CLEAN_EXITS
            return answers

        assert asyncio.run(asyncio.wait_for(visit(), PATIENCE * 2)) >= 60
