"""Layers in programs that fork: before their first use, after it, and in the midst of it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.blocking.listening import Store, store
from tests.blocking.programs import RUN_SECONDS, ended, printed, start
from tests.processes import wait_until

MADE = """
import os, subprocess, sys, threading, time
from chanserv.errors import LayerUnavailable
from chanserv.layers import blocking_layer
from tests.blocking.layers import SILENT, dialled

def forked(work, code=0):
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        sys.stdout.flush()
        sys.exit(code)
    except SystemExit:
        raise
    except BaseException as error:
        sys.stderr.write(repr(error))
        os._exit(9)

def reap(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


@pytest.fixture
def far_end() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder, store(f"{folder}/store") as found:
        yield found


def said_by(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def answer(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


class TestWhatTheOtherEndSees:
    def test_a_child_has_a_connection_of_its_own_and_leaves_its_parents_alone(
        self, far_end: Store
    ) -> None:
        process = start(
            MADE + f"layer = blocking_layer(dialled({far_end.path!r}))\n"
            "layer.send('a', {})\n"
            "print(reap(forked(lambda: layer.send('a', {}))))\n"
            "sys.stdin.readline()\n"
            "layer.send('a', {})\n"
            "print(layer.channel_statistics('a')['messages_count'])\n"
        )
        assert said_by(process) == "0\n"
        wait_until(lambda: len(far_end.heard) == 2, RUN_SECONDS)
        parents, childs = far_end.heard
        wait_until(lambda: childs.over, RUN_SECONDS)
        assert (childs.said, parents.said, parents.over) == (b"goodbye", b"", False)
        answer(process)
        assert ended(process) == (0, "2\n", "")
        wait_until(lambda: parents.over, RUN_SECONDS)
        assert (parents.said, len(far_end.heard)) == (b"goodbye", 2)

    @pytest.mark.parametrize("ending", ["pass", "os._exit(0)", "import gc; gc.collect()"])
    def test_a_child_that_does_not_use_the_layer_leaves_no_trace(
        self, far_end: Store, ending: str
    ) -> None:
        process = start(
            MADE + f"layer = blocking_layer(dialled({far_end.path!r}))\n"
            "layer.send('a', {})\n"
            "def work():\n"
            "    global layer\n"
            "    del layer\n"
            f"    {ending}\n"
            "print(reap(forked(work)))\n"
            "sys.stdin.readline()\n"
        )
        assert said_by(process) == "0\n"
        wait_until(lambda: far_end.heard, RUN_SECONDS)
        (one,) = far_end.heard
        assert (one.said, one.over) == (b"", False)
        answer(process)
        assert ended(process) == (0, "", "")
        wait_until(lambda: one.over, RUN_SECONDS)
        assert one.said == b"goodbye"

    @pytest.mark.parametrize("paused", [False, True])
    def test_the_death_of_the_parent_shows_though_a_child_lives_on(
        self, far_end: Store, paused: bool
    ) -> None:
        process = start(
            MADE + f"layer = blocking_layer(dialled({far_end.path!r}, {paused}))\n"
            "layer.send('a', {})\n"
            "child = forked(lambda: time.sleep(3600))\n"
            "print(child)\n"
            "time.sleep(3600)\n"
        )
        child = int(said_by(process))
        try:
            wait_until(lambda: far_end.heard, RUN_SECONDS)
            (one,) = far_end.heard
            process.kill()
            process.wait()
            wait_until(lambda: one.over, RUN_SECONDS)
            assert one.said == b""
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)
            ended(process)

    def test_a_grandchild_has_its_own_too(self, far_end: Store) -> None:
        lines = printed(
            MADE + f"layer = blocking_layer(dialled({far_end.path!r}))\n"
            "layer.send('a', {})\n"
            "def child():\n"
            "    layer.send('a', {})\n"
            "    assert reap(forked(lambda: layer.send('a', {}))) == 0\n"
            "    layer.send('a', {})\n"
            "print(reap(forked(child)))\n"
        )
        assert lines == ["0"]
        wait_until(lambda: all(one.over for one in far_end.heard), RUN_SECONDS)
        assert [one.said for one in far_end.heard] == [b"goodbye"] * 3


class TestInTheThickOfIt:
    def test_children_forked_while_threads_use_the_layer_never_hang(self) -> None:
        lines = printed(
            MADE + "layer = blocking_layer(SILENT)\n"
            "going = True\n"
            "def use(name):\n"
            "    while going:\n"
            "        layer.send(name, {})\n"
            "        layer.receive([name, 'more'], True, 0.001)\n"
            "threads = [threading.Thread(target=use, args=(f'c{n}',)) for n in range(4)]\n"
            "for one in threads: one.start()\n"
            "def work():\n"
            "    layer.send('a', {'number': 1})\n"
            "    assert layer.receive(['a']) == ('a', {'number': 1})\n"
            "print({reap(forked(work)) for _ in range(10)})\n"
            "going = False\n"
            "for one in threads: one.join()\n"
        )
        assert lines == ["{0}"]

    def test_several_threads_may_fork_at_once(self) -> None:
        lines = printed(
            MADE + "layer = blocking_layer(SILENT)\n"
            "layer.send('b', {})\n"
            "codes = []\n"
            "def work():\n"
            "    layer.send('a', {'number': 1})\n"
            "    assert layer.receive(['a']) == ('a', {'number': 1})\n"
            "    os._exit(0)\n"
            "def fork():\n"
            "    for _ in range(5):\n"
            "        codes.append(reap(forked(work)))\n"
            "        layer.send('b', {})\n"
            "threads = [threading.Thread(target=fork) for _ in range(4)]\n"
            "for one in threads: one.start()\n"
            "for one in threads: one.join()\n"
            "print(len(codes), set(codes), layer.channel_statistics('b')['messages_count'])\n"
        )
        assert lines == ["20 {0} 21"]

    def test_a_fork_waits_until_the_reactor_has_nothing_half_done(self) -> None:
        lines = printed(
            MADE + "from chanserv.layers import reactor_thread\n"
            "layer = blocking_layer(SILENT)\n"
            "layer.send('a', {})\n"
            "begun, done = threading.Event(), []\n"
            "def turn():\n"
            "    begun.set()\n"
            "    time.sleep(0.3)\n"
            "    done.append('whole')\n"
            "reactor_thread.process_thread().reactor.callFromThread(turn)\n"
            "begun.wait(60)\n"
            "reap(forked(lambda: print(done)))\n"
        )
        assert lines == ["['whole']"]

    def test_a_fork_waits_until_what_a_layer_needs_is_imported(self) -> None:
        lines = printed(
            MADE + "from chanserv.layers import blocking\n"
            "original, begun, done = blocking.make_layer, threading.Event(), []\n"
            "def slow(*args):\n"
            "    begun.set()\n"
            "    time.sleep(0.3)\n"
            "    done.append('whole')\n"
            "    return original(*args)\n"
            "blocking.make_layer = slow\n"
            "making = threading.Thread(target=lambda: blocking_layer(SILENT))\n"
            "making.start()\n"
            "begun.wait(60)\n"
            "reap(forked(lambda: print(done)))\n"
            "making.join()\n"
        )
        assert lines == ["['whole']"]

    def test_a_fork_while_a_layer_is_being_made_leaves_no_lock_behind(self) -> None:
        lines = printed(
            MADE + "from chanserv.layers import private_reactor, reactor_thread\n"
            "private_reactor.HOLD_SECONDS = reactor_thread.HOLD_SECONDS = 0.2\n"
            "from tests.blocking import layers\n"
            "original, begun, go_on = layers.Silent.__init__, threading.Event(), "
            "threading.Event()\n"
            "def slow(*args, **kwargs):\n"
            "    begun.set()\n"
            "    go_on.wait(60)\n"
            "    original(*args, **kwargs)\n"
            "layers.Silent.__init__ = slow\n"
            "layer = blocking_layer(SILENT)\n"
            "making = threading.Thread(target=lambda: layer.send('a', {}))\n"
            "making.start()\n"
            "begun.wait(60)\n"
            "def work():\n"
            "    layers.Silent.__init__ = original\n"
            "    layer.send('a', {})\n"
            "print(reap(forked(work)))\n"
            "go_on.set()\n"
            "making.join()\n"
            "print(layer.channel_statistics('a')['messages_count'])\n"
        )
        assert lines == ["0", "1"]

    def test_a_program_started_with_a_function_between_fork_and_exec_starts(self) -> None:
        lines = printed(
            MADE + "layer = blocking_layer(SILENT)\n"
            "layer.send('a', {})\n"
            "print(subprocess.run(['true'], preexec_fn=lambda: None).returncode)\n"
            "print(layer.receive(['a']))\n"
        )
        assert lines == ["0", "('a', {})"]


class TestFacesOfOtherProcesses:
    def test_a_memory_layer_is_each_processs_own(self) -> None:
        lines = printed(
            MADE + "layer = blocking_layer('memory:')\n"
            "layer.send('a', {'of': 'the parent'})\n"
            "def work():\n"
            "    print(layer.receive(['a']))\n"
            "    layer.send('a', {'of': 'the child'})\n"
            "reap(forked(work))\n"
            "print(layer.receive(['a']), layer.receive(['a']))\n"
        )
        assert lines == ["(None, None)", "('a', {'of': 'the parent'}) (None, None)"]

    @pytest.mark.parametrize("kind", ["fork", "spawn"])
    def test_a_method_of_it_can_be_what_a_child_runs(self, kind: str) -> None:
        lines = printed(
            f"""
            from multiprocessing import get_context
            from chanserv.layers import blocking_layer
            from tests.blocking.layers import TIED
            if __name__ == "__main__":
                layer = blocking_layer(TIED)
                layer.send("a", {{}})
                child = get_context({kind!r}).Process(target=layer.send, args=("a", {{}}))
                child.start()
                child.join()
                print(child.exitcode, layer.channel_statistics("a")["messages_count"])
            """
        )
        assert lines == ["closed", "0 1", "closed"]

    def test_a_face_whose_reactor_is_in_the_parent_says_so_at_once(self) -> None:
        lines = printed(
            MADE + "from twisted.internet import reactor\n"
            "from twisted.internet.threads import deferToThread\n"
            "from chanserv.layers import face_of\n"
            "from tests.blocking.layers import Silent\n"
            "face = face_of(Silent(reactor), reactor)\n"
            "def child():\n"
            "    try:\n"
            "        face.send('a', {})\n"
            "    except LayerUnavailable as error:\n"
            "        sys.stdout.write(str(error).replace(str(os.getppid()), 'N'))\n"
            "        sys.stdout.flush()\n"
            "    os._exit(0)\n"
            "def work():\n"
            "    face.send('a', {})\n"
            "    return reap(forked(child))\n"
            "reactor.callWhenRunning(\n"
            "    lambda: deferToThread(work).addBoth(print).addBoth(lambda _: reactor.stop()))\n"
            "reactor.run()\n"
        )
        told = "this is the channel layer of process N, from which this one was forked: "
        assert lines == [told + "ask for the layer anew here0"]
