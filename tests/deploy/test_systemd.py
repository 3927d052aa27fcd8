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

from tests.deploy.files import adapted, command_lines
from tests.end_to_end.clients import Socket, get
from tests.end_to_end.split import PATIENCE, Part, eventually
from tests.processes import CLEAN_EXITS, free_port, script

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


def command(folder: Path, metrics: int) -> list[str]:
    """
    What the unit for a whole site runs, as far as it can here.

    @param folder: where its processes meet.
    @param metrics: the port for what it shows of itself.
    """
    changes = {
        "mysite.settings": "site_under_test.settings",
        "/run/mysite": str(folder),
        "tcp:9100:": f"tcp:{metrics}:",
        "--workers=4": "--workers=1",
    }
    (words,) = command_lines(adapted("chanserv.service", changes))
    return [script("twistd"), "--nodaemon", "--pidfile=", "chanserv", *words]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One whose path is short enough for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp") as name:
        yield Path(name)


HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""What systemd does between its fork and the service: the socket is the file 3."""


@contextmanager
def running(
    command: list[str], descriptors: tuple[int, ...] = (), **environment: str
) -> Iterator[Part]:
    """A process with these open files besides the usual ones, until the block ends."""
    with tempfile.NamedTemporaryFile(suffix=".log") as output:
        process = subprocess.Popen(
            command,
            cwd=SITE,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
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


def test_the_socket_that_systemd_hands_over_is_served(folder: Path) -> None:
    """By systemd's own program for trying that out; the first connection starts the server."""
    activate = shutil.which("systemd-socket-activate")
    assert activate is not None, "there is no systemd-socket-activate: make programs has it"
    port = free_port()
    started = [activate, f"--listen=127.0.0.1:{port}", "--fdname=http"]
    with running([*started, *command(folder, free_port())]) as part:

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


def test_no_connection_is_refused_while_the_service_starts_anew(folder: Path) -> None:
    """As systemd does it: the socket stays, and each new process gets it as its file 3."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1024) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices,
    ):
        port = listening.getsockname()[1]
        notices.bind(str(folder / "notify"))
        notices.setblocking(False)
        service = [
            *(sys.executable, "-c", HAND_OVER, str(listening.fileno())),
            *command(folder, free_port()),
        ]

        async def told(word: bytes) -> None:
            """Wait until systemd would have heard this."""
            while word not in await asyncio.get_running_loop().sock_recv(notices, 4096):
                pass

        async def visit() -> None:
            answers, over = 0, asyncio.Event()

            async def ask_on_and_on() -> None:
                nonlocal answers
                while not over.is_set():
                    answer = await get(port)
                    assert answer.endswith(b"hello"), answer
                    answers += 1
                    await asyncio.sleep(0.01)

            asking = [asyncio.create_task(ask_on_and_on()) for _ in range(4)]
            for last in (False, True):
                with running(
                    service, (listening.fileno(),), NOTIFY_SOCKET=str(folder / "notify")
                ) as part:
                    try:
                        await told(b"READY=1\n")
                        before = answers
                        while answers < before + 20:
                            assert not any(one.done() for one in asking), asking
                            await asyncio.sleep(0.05)
                        if last:
                            over.set()
                            await asyncio.gather(*asking)
                        part.process.terminate()
                        await told(b"STOPPING=1\n")
                        await eventually("it has ended", part.has_ended)
                    except BaseException:
                        print(part.log())  # noqa: T201
                        raise
                    assert part.process.returncode in CLEAN_EXITS

        asyncio.run(asyncio.wait_for(visit(), PATIENCE * 2))
