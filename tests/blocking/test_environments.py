"""
Consumers outside of the server: what a shell, a command, another server, a task and
their children send reaches a real client's open socket.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.blocking.programs import RUN_SECONDS, WARNINGS
from tests.processes import Served, free_port, served, wait_until
from tests.redis_servers import redis_server

HERE = Path(__file__).parent

LAYERS = ("ipc", "redis")

on_every_layer = pytest.mark.parametrize("site", [*LAYERS, "third-party"], indirect=True)
"""
For a layer without a private reactor, too.  Its store is a file of SQLite, which must
not be forked while another thread is at work on it; so a worker's child is not tried.
"""

SETTINGS = {"DJANGO_SETTINGS_MODULE": "outside.settings"}


@dataclass
class Site:
    """
    A site whose sockets chanserv serves.

    @ivar env: the environment of all its programs.
    """

    server: Served
    env: Mapping[str, str]

    @contextmanager
    def joined(self) -> Iterator[tuple[str, ClientConnection]]:
        """A client in a group of its own, with the group's name."""
        group = f"g{uuid.uuid4().hex}"
        plain = socket.create_connection(("127.0.0.1", self.server.port))
        with connect(f"ws://127.0.0.1:{self.server.port}/{group}/", sock=plain) as client:
            assert client.recv(timeout=RUN_SECONDS) == "joined"
            yield group, client

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one of its programs."""
        return subprocess.Popen(
            [sys.executable, *WARNINGS, *arguments],
            cwd=HERE,
            env={**os.environ, **self.env, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        """Run one, which ends well and complains of nothing; what it printed."""
        process = self.start(*arguments)
        try:
            output, errors = process.communicate(timeout=RUN_SECONDS)
        finally:
            process.kill()
        assert (process.returncode, errors) == (0, ""), f"{output}\n{errors}"
        return output


@contextmanager
def layer_settings(kind: str) -> Iterator[dict[str, object]]:
    """An entry of C{CHANNEL_LAYERS}, and what it leads to."""
    if kind == "redis":
        with redis_server() as server:
            yield {
                "BACKEND": "chanserv.layers.RedisChannelLayer",
                "CONFIG": {"hosts": [server.url]},
            }
    elif kind == "third-party":
        with tempfile.TemporaryDirectory() as folder:
            yield {"BACKEND": "outside.shelf.ShelfLayer", "CONFIG": {"path": f"{folder}/shelf"}}
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield {
                "BACKEND": "chanserv.layers.IPCChannelLayer",
                "CONFIG": {"prefix": "outside", "directory": folder},
            }


@pytest.fixture(scope="module", params=LAYERS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with layer_settings(request.param) as entry:
        env = {**SETTINGS, "OUTSIDE_LAYER": json.dumps(entry)}
        port = free_port()
        command = [
            "twistd", "-n", "--pidfile=", "chanserv", "--settings=outside.settings",
            f"--listen=tcp:{port}:interface=127.0.0.1",
        ]  # fmt: skip
        with served(command, port=port, cwd=HERE, env=env) as server:
            yield Site(server, env)
            assert "Traceback" not in server.log(), server.log()


@on_every_layer
def test_a_shell(site: Site) -> None:
    with site.joined() as (group, client):
        line = f"from chanserv.django import Group; Group({group!r}).send({{'text': 'shell'}})"
        site.run("manage.py", "shell", "-c", line)
        assert client.recv(timeout=RUN_SECONDS) == "shell"


def test_a_management_command(site: Site) -> None:
    with site.joined() as (group, client):
        site.run("manage.py", "announce", group, "command")
        assert client.recv(timeout=RUN_SECONDS) == "command"


@on_every_layer
def test_a_script_that_a_clock_starts(site: Site) -> None:
    with site.joined() as (group, client):
        printed = site.run(
            "-c",
            "import sys\n"
            "from chanserv.django import Channel, get_channel_layer\n"
            "layer = get_channel_layer()\n"
            f"layer.send_group({group!r}, {{'text': 'script'}})\n"
            f"Channel('c.' + {group!r}).send({{'number': 1}})\n"
            f"print(layer.receive(['c.' + {group!r}], block=True, timeout=60)[1])\n"
            f"print(layer.receive(['c.' + {group!r}]))\n"
            "print('twisted.internet.reactor' in sys.modules)\n",
        )
        assert client.recv(timeout=RUN_SECONDS) == "script"
        assert printed.splitlines() == ["{'number': 1}", "(None, None)", "False"]


def test_many_threads_of_a_program(site: Site) -> None:
    with site.joined() as (group, client):
        site.run(
            "-c",
            "import django; django.setup()\n"
            "from concurrent.futures import ThreadPoolExecutor\n"
            "from outside.sending import announce\n"
            "with ThreadPoolExecutor(8) as threads:\n"
            f"    list(threads.map(lambda n: announce({group!r}, str(n)), range(40)))\n",
        )
        got = [client.recv(timeout=RUN_SECONDS) for _ in range(40)]
        assert sorted(got) == sorted(map(str, range(40)))


@pytest.mark.parametrize(
    ("kind", "used_before"),
    [("fork", True), ("fork", False), ("spawn", True), ("forkserver", True)],
)
def test_children_of_multiprocessing(site: Site, kind: str, used_before: bool) -> None:
    with site.joined() as (group, client):
        site.run(
            "-c",
            "from multiprocessing import get_context\n"
            "if __name__ == '__main__':\n"
            "    import django; django.setup()\n"
            "    from outside.sending import announce\n"
            f"    if {used_before}: announce({group!r}, 'before')\n"
            f"    context = get_context({kind!r})\n"
            f"    children = [context.Process(target=announce, args=({group!r}, str(n)))\n"
            "                for n in range(2)]\n"
            "    for one in children: one.start()\n"
            "    for one in children: one.join()\n"
            "    assert [one.exitcode for one in children] == [0, 0]\n"
            f"    announce({group!r}, 'after')\n",
        )
        if used_before:
            assert client.recv(timeout=RUN_SECONDS) == "before"
        assert {client.recv(timeout=RUN_SECONDS) for _ in range(2)} == {"0", "1"}
        assert client.recv(timeout=RUN_SECONDS) == "after"


@on_every_layer
def test_tasks_in_a_pool_of_processes(site: Site) -> None:
    with site.joined() as (group, client):
        site.run(
            "-c",
            "from concurrent.futures import ProcessPoolExecutor\n"
            "from multiprocessing import get_context\n"
            "import django; django.setup()\n"
            "from outside.sending import announce\n"
            f"announce({group!r}, 'queue')\n"
            "with ProcessPoolExecutor(2, get_context('fork')) as tasks:\n"
            f"    list(tasks.map(announce, [{group!r}] * 6, map(str, range(6))))\n",
        )
        assert client.recv(timeout=RUN_SECONDS) == "queue"
        got = [client.recv(timeout=RUN_SECONDS) for _ in range(6)]
        assert sorted(got) == sorted(map(str, range(6)))


def test_threads_of_a_program_that_runs_a_reactor(site: Site) -> None:
    with site.joined() as (group, client):
        printed = site.run(
            "-c",
            "import django; django.setup()\n"
            "from chanserv.errors import WrongThread\n"
            "from outside.sending import announce\n"
            "from twisted.internet import reactor\n"
            "from twisted.internet.threads import deferToThread\n"
            "def told(_):\n"
            "    try:\n"
            f"        announce({group!r}, 'never')\n"
            "    except WrongThread:\n"
            "        print('refused')\n"
            "    reactor.stop()\n"
            "reactor.callWhenRunning(\n"
            f"    lambda: deferToThread(announce, {group!r}, 'thread').addBoth(told))\n"
            "reactor.run()\n",
        )
        assert printed == "refused\n"
        assert client.recv(timeout=RUN_SECONDS) == "thread"


def test_threads_of_a_program_that_runs_a_loop_of_asyncio(site: Site) -> None:
    with site.joined() as (group, client):
        site.run(
            "-c",
            "import asyncio\n"
            "import django; django.setup()\n"
            "from asgiref.sync import sync_to_async\n"
            "from outside.sending import announce\n"
            f"asyncio.run(sync_to_async(announce)({group!r}, 'loop'))\n",
        )
        assert client.recv(timeout=RUN_SECONDS) == "loop"


def test_a_child_of_a_worker(site: Site) -> None:
    with site.joined() as (_, client):
        client.send("child")
        assert client.recv(timeout=RUN_SECONDS) == "child"
        assert client.recv(timeout=RUN_SECONDS) == "the child ended with 0"


@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_gunicorn(site: Site, kind: str, preload: bool) -> None:
    port = free_port()
    with site.joined() as (group, client):
        command = [
            "gunicorn", "outside.wsgi", f"--bind=127.0.0.1:{port}", "--workers=2",
            f"--worker-class={kind}", "--threads=2", *(["--preload"] if preload else []),
        ]  # fmt: skip
        if kind == "sync":
            command.remove("--threads=2")
        env = {**site.env, "OUTSIDE_AT_IMPORT": group}
        with served(command, port=port, cwd=HERE, env=env) as server:
            for number in range(6):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=RUN_SECONDS)
                connection.request("GET", f"/{group}/{number}/")
                assert connection.getresponse().status == 200
                connection.close()
            imports = 1 if preload else 2
            got = sorted(client.recv(timeout=RUN_SECONDS) for _ in range(6 + imports))
            assert got == sorted([*map(str, range(6)), *["imported"] * imports])
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: server.process.poll() is not None, RUN_SECONDS)
            assert server.process.returncode == 0
            assert "Traceback" not in server.log(), server.log()
