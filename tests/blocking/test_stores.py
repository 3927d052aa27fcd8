"""Real stores, and programs that use them: forks, deaths, and stores that are away."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.blocking.programs import RUN_SECONDS, ended, printed, start
from tests.blocking.test_forks import MADE, answer, said_by
from tests.certificates import make_certificates
from tests.processes import wait_until
from tests.redis_servers import RedisServer, redis_server


@pytest.fixture(scope="module", params=["plain", "tls"])
def redis(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    if request.param == "plain":
        with redis_server() as server:
            yield server
    else:
        with (
            tempfile.TemporaryDirectory() as folder,
            redis_server(tls=make_certificates(Path(folder))) as server,
        ):
            yield server


@pytest.fixture
def ipc() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"ipc:store?directory={folder}"


def connections(server: RedisServer) -> set[bytes]:
    """The ids of the server's clients, but for the one that asks."""
    lines = server.command("CLIENT", "LIST").split(b"\n")
    return {
        found[1]
        for line in lines
        if (found := re.search(rb"\bid=(\d+) ", line)) and b"cmd=client" not in line
    }


class TestForks:
    def test_a_child_over_redis_leaves_its_parents_connections_alone(
        self, redis: RedisServer
    ) -> None:
        process = start(
            MADE + f"layer = blocking_layer({redis.url!r})\n"
            "layer.send('a', {'number': 1})\n"
            "layer.receive(['b'], True, 0.01)\n"
            "print('ready')\n"
            "sys.stdin.readline()\n"
            "def work():\n"
            "    layer.send('a', {'number': 2})\n"
            "    assert layer.receive(['a']) == ('a', {'number': 1})\n"
            "print(reap(forked(work)), reap(forked(lambda: None)))\n"
            "sys.stdin.readline()\n"
            "print(layer.receive(['a']), layer.receive(['a']))\n"
        )
        assert said_by(process) == "ready\n"
        # One for commands, and one on which the server rings.
        wait_until(lambda: len(connections(redis)) == 2, RUN_SECONDS)
        before = connections(redis)
        answer(process)
        assert said_by(process) == "0 0\n"
        wait_until(lambda: connections(redis) == before, RUN_SECONDS)
        answer(process)
        assert ended(process) == (0, "('a', {'number': 2}) (None, None)\n", "")
        wait_until(lambda: not connections(redis), RUN_SECONDS)

    def test_redis_sees_the_death_of_a_parent_though_a_child_lives_on(
        self, redis: RedisServer
    ) -> None:
        with a_parent_that_dies(redis.url):
            wait_until(lambda: not connections(redis), RUN_SECONDS)

    def test_the_place_of_an_ipc_host_is_free_though_a_child_of_it_lives_on(self, ipc: str) -> None:
        with a_parent_that_dies(ipc):
            assert printed(
                MADE + f"layer = blocking_layer({ipc!r})\n"
                "layer.send('b', {'number': 1})\n"
                "print(layer.receive(['b']))\n"
            ) == ["('b', {'number': 1})"]

    def test_parent_and_child_talk_over_ipc(self, ipc: str) -> None:
        assert printed(
            MADE + f"layer = blocking_layer({ipc!r})\n"
            "layer.send('a', {'number': 1})\n"
            "def work():\n"
            "    assert layer.receive(['a'], True, 60) == ('a', {'number': 1})\n"
            "    layer.send('b', {'number': 2})\n"
            "child = forked(work)\n"
            "print(layer.receive(['b'], True, 60), reap(child))\n"
        ) == ["('b', {'number': 2}) 0"]


@contextmanager
def a_parent_that_dies(url: str) -> Iterator[None]:
    """A program that has used a layer is killed; a child that it has forked lives on."""
    process = start(
        MADE + f"layer = blocking_layer({url!r})\n"
        "layer.send('a', {})\n"
        "print(forked(lambda: time.sleep(3600)))\n"
        "time.sleep(3600)\n"
    )
    child = int(said_by(process))
    try:
        process.kill()
        process.wait()
        yield
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        ended(process)


class TestAStoreThatIsAway:
    def test_it_is_said_and_the_program_ends(self, tmp_path: Path) -> None:
        (line,) = refused(f"redis+unix://{tmp_path}/none")
        assert f"{tmp_path}/none" in line

    def test_one_that_does_not_answer_is_not_waited_for_for_ever(self) -> None:
        with redis_server() as server:
            process = start(
                MADE + f"layer = blocking_layer({server.url + '?reply_timeout=0.5'!r})\n"
                "while True:\n"
                "    try:\n"
                "        layer.send('a', {})\n"
                "        break\n"
                "    except LayerUnavailable:\n"
                "        pass\n"
                "print('ready')\n"
                "sys.stdin.readline()\n"
                "try:\n"
                "    layer.send('a', {})\n"
                "except LayerUnavailable:\n"
                "    print('unavailable')\n"
            )
            assert said_by(process) == "ready\n"
            server.pause()
            try:
                answer(process)
                assert said_by(process) == "unavailable\n"
                code, _, errors = ended(process)
            finally:
                server.resume()
        assert (code, "Traceback" in errors) == (0, False)

    def test_one_that_comes_is_found(self, tmp_path: Path) -> None:
        with redis_server() as server:
            server.kill()
            process = start(
                MADE + f"layer = blocking_layer({server.url!r})\n"
                "try:\n"
                "    layer.send('a', {})\n"
                "except LayerUnavailable:\n"
                "    print('unavailable')\n"
                "while True:\n"
                "    try:\n"
                "        layer.send('a', {'number': 1})\n"
                "        break\n"
                "    except LayerUnavailable:\n"
                "        time.sleep(0.05)\n"
                "print(layer.receive(['a']))\n"
            )
            assert said_by(process) == "unavailable\n"
            server.restart()
            code, output, _ = ended(process)
        assert (code, output) == (0, "('a', {'number': 1})\n")


def refused(url: str) -> list[str]:
    """What a program without a store prints."""
    process: subprocess.Popen[str] = start(
        MADE + f"layer = blocking_layer({url!r})\n"
        "try:\n"
        "    layer.send('a', {})\n"
        "except LayerUnavailable as error:\n"
        "    print(error)\n"
    )
    code, output, errors = ended(process)
    assert code == 0, errors
    assert "Traceback" not in errors
    return output.splitlines()


NO_REACTOR = """
layer.group_add("g", "p!x")
layer.send_group("g", {"number": 1})
print(layer.receive(["p!"], True, 60))
layer.close()
print("twisted.internet.reactor" in sys.modules)
"""


def test_nothing_of_redis_touches_the_global_reactor(redis: RedisServer) -> None:
    program = MADE + f"layer = blocking_layer({redis.url!r})" + NO_REACTOR
    assert printed(program) == ["('p!x', {'number': 1})", "False"]


def test_nothing_of_ipc_touches_the_global_reactor(ipc: str) -> None:
    program = MADE + f"layer = blocking_layer({ipc!r})" + NO_REACTOR
    assert printed(program) == ["('p!x', {'number': 1})", "False"]
