"""The private reactor in whole programs: how they begin, wait and end."""

from __future__ import annotations

import os
import signal

import pytest

from tests.blocking.programs import ended, printed, start

MADE = """
import os, sys, threading, time
from chanserv.errors import LayerUnavailable, WrongThread
from chanserv.layers import blocking_layer
from chanserv.layers import reactor_thread
from tests.blocking.layers import NEVER_CLOSING, SILENT, TIED
"""


class TestBeginning:
    def test_it_works_and_the_program_ends_by_itself(self) -> None:
        assert printed(
            MADE + "layer = blocking_layer(TIED)\n"
            "layer.send('a', {'number': 1})\n"
            "print(layer.receive(['a']), layer.receive(['a']))\n"
            "print(layer.receive(['a'], block=True, timeout=0.01))\n"
        ) == ["('a', {'number': 1}) (None, None)", "(None, None)", "closed"]

    def test_nothing_runs_before_the_first_use(self) -> None:
        assert printed(
            MADE + "layer = blocking_layer(TIED)\n"
            "print(threading.active_count())\n"
            "layer.expiry\n"
            "print(threading.active_count())\n"
        ) == ["1", "2", "closed"]

    def test_a_wrong_spec_is_said_before_the_first_use(self) -> None:
        assert printed(
            MADE + "from chanserv.errors import ConfigurationError\n"
            "try:\n"
            "    blocking_layer({**TIED, 'CONFIG': 5})\n"
            "except ConfigurationError as error:\n"
            "    print(error)\n"
        ) == ["CONFIG of tests.blocking.layers.Tied must be a mapping, not 5"]

    def test_what_a_layer_refuses_is_raised_by_the_first_use(self) -> None:
        assert printed(
            MADE + "from chanserv.errors import ConfigurationError\n"
            "layer = blocking_layer({**SILENT, 'CONFIG': {'capacity': 0}})\n"
            "for _ in range(2):\n"
            "    try:\n"
            "        layer.send('a', {})\n"
            "    except ConfigurationError as error:\n"
            "        print('capacity' in str(error))\n"
        ) == ["True", "True"]

    def test_all_layers_share_one_thread(self) -> None:
        assert printed(
            MADE + "layers = [blocking_layer(SILENT) for _ in range(5)]\n"
            "for layer in layers:\n"
            "    layer.send('a', {})\n"
            "print(threading.active_count())\n"
        ) == ["2"]

    def test_threads_that_begin_at_once_get_one_layer(self) -> None:
        assert printed(
            MADE + "layer = blocking_layer(TIED)\n"
            "begin = threading.Barrier(8)\n"
            "def send():\n"
            "    begin.wait()\n"
            "    layer.send('a', {})\n"
            "threads = [threading.Thread(target=send) for _ in range(8)]\n"
            "for one in threads: one.start()\n"
            "for one in threads: one.join()\n"
            "print(layer.channel_statistics('a')['messages_pending'])\n"
        ) == ["8", "closed"]

    def test_no_global_reactor_is_installed_and_no_thread_is_made_twisteds(self) -> None:
        assert printed(
            MADE + "blocking_layer(SILENT).send('a', {})\n"
            "from twisted.python import threadable\n"
            "print('twisted.internet.reactor' in sys.modules, threadable.ioThread)\n"
        ) == ["False None"]

    def test_a_program_may_install_a_reactor_of_its_own_later(self) -> None:
        assert printed(
            MADE + "layer = blocking_layer(SILENT)\n"
            "layer.send('a', {'number': 1})\n"
            "from twisted.internet import asyncioreactor\n"
            "asyncioreactor.install()\n"
            "from twisted.internet import reactor\n"
            "from twisted.internet.threads import deferToThread\n"
            "deferToThread(layer.receive, ['a']).addBoth(print).addBoth(\n"
            "    lambda _: reactor.stop())\n"
            "reactor.run()\n"
        ) == ["('a', {'number': 1})"]


class TestBesideAnotherReactor:
    def test_its_threads_may_wait_and_its_own_may_not(self) -> None:
        assert printed(
            MADE + "from twisted.internet import reactor\n"
            "from twisted.internet.threads import deferToThread\n"
            "from twisted.python.threadable import isInIOThread\n"
            "layer = blocking_layer(SILENT)\n"
            "def work():\n"
            "    layer.send('a', {'number': 1})\n"
            "    return layer.receive(['a'])\n"
            "def refused(result):\n"
            "    print(result, isInIOThread())\n"
            "    try:\n"
            "        layer.send('a', {})\n"
            "    except WrongThread:\n"
            "        print('refused')\n"
            "    reactor.stop()\n"
            "reactor.callWhenRunning(lambda: deferToThread(work).addCallback(refused))\n"
            "reactor.run()\n"
        ) == ["('a', {'number': 1}) True", "refused"]

    def test_its_main_thread_may_wait_before_and_after_the_reactor_runs(self) -> None:
        assert printed(
            MADE + "from twisted.internet import reactor\n"
            "layer = blocking_layer(SILENT)\n"
            "layer.send('a', {'number': 1})\n"
            "reactor.callWhenRunning(reactor.stop)\n"
            "reactor.run()\n"
            "print(layer.receive(['a']))\n"
        ) == ["('a', {'number': 1})"]

    def test_the_private_thread_itself_may_not_wait(self) -> None:
        assert printed(
            MADE + "layer = blocking_layer(SILENT)\n"
            "layer.send('a', {})\n"
            "thread = reactor_thread.process_thread()\n"
            "done = threading.Event()\n"
            "def call():\n"
            "    try:\n"
            "        layer.send('a', {})\n"
            "    except WrongThread:\n"
            "        print('refused')\n"
            "    done.set()\n"
            "thread.reactor.callFromThread(call)\n"
            "done.wait(60)\n"
        ) == ["refused"]

    def test_a_loop_of_asyncio_works_beside_it(self) -> None:
        assert printed(
            MADE + "import asyncio\n"
            "layer = blocking_layer(SILENT)\n"
            "async def main():\n"
            "    waiting = asyncio.to_thread(layer.receive, ['a'], True, 60)\n"
            "    sending = asyncio.to_thread(layer.send, 'a', {})\n"
            "    return (await asyncio.gather(waiting, sending))[0]\n"
            "print(asyncio.run(main()))\n"
        ) == ["('a', {})"]


class TestEnding:
    def test_a_layer_that_does_not_close_does_not_keep_the_program(self) -> None:
        assert printed(
            MADE + "reactor_thread.ReactorThread.end.__defaults__ = (0.2,)\n"
            "blocking_layer(NEVER_CLOSING).send('a', {})\n"
        ) == ["closed"]

    def test_a_look_up_that_hangs_does_not_keep_the_program(self) -> None:
        assert printed(
            MADE + "layer = blocking_layer(TIED)\n"
            "layer.send('a', {})\n"
            "reactor = reactor_thread.process_thread().reactor\n"
            "begun = threading.Event()\n"
            "def hang():\n"
            "    begun.set()\n"
            "    time.sleep(3600)\n"
            "reactor.callFromThread(reactor.callInThread, hang)\n"
            "print(begun.wait(60))\n"
        ) == ["True", "closed"]

    def test_a_thread_that_waits_does_not_keep_the_program_when_it_is_a_daemon(self) -> None:
        assert printed(
            MADE + "layer = blocking_layer(TIED)\n"
            "layer.send('b', {})\n"
            "def wait():\n"
            "    try:\n"
            "        layer.receive(['a'], True, 3600)\n"
            "    except LayerUnavailable:\n"
            "        pass\n"
            "threading.Thread(target=wait, daemon=True).start()\n"
        ) == ["closed"]

    def test_what_other_threads_still_send_is_sent(self) -> None:
        assert printed(
            MADE + "layer = blocking_layer(TIED)\n"
            "layer.send('a', {})\n"
            "def late():\n"
            "    time.sleep(0.2)\n"
            "    layer.send('a', {})\n"
            "    print(layer.channel_statistics('a')['messages_count'])\n"
            "threading.Thread(target=late).start()\n"
        ) == ["2", "closed"]

    def test_calls_after_the_end_are_refused_at_once(self) -> None:
        assert printed(
            MADE + "import atexit\n"
            "def last():\n"
            "    for layer in (used, unused):\n"
            "        try:\n"
            "            layer.send('a', {})\n"
            "        except LayerUnavailable as error:\n"
            "            print(error)\n"
            "atexit.register(last)\n"
            "used, unused = blocking_layer(TIED), blocking_layer(TIED)\n"
            "used.send('a', {})\n"
        ) == ["closed", *["this program is ending, and has closed its channel layers"] * 2]

    def test_a_layer_that_nobody_has_any_more_is_closed(self) -> None:
        assert printed(
            MADE + "blocking_layer(TIED).send('a', {})\n"
            "other = blocking_layer(SILENT)\n"
            "other.send('a', {})\n"
            "print('end')\n"
        ) == ["closed", "end"]

    def test_a_layer_may_be_closed_before_and_used_again(self) -> None:
        assert printed(
            MADE + "layer = blocking_layer(TIED)\n"
            "layer.close()\n"
            "layer.send('a', {})\n"
            "layer.close()\n"
            "print('between', layer.receive(['a']))\n"
            "layer.close()\n"
            "layer.close()\n"
        ) == ["closed", "between (None, None)", "closed"]

    def test_an_exception_ends_it_as_ever(self) -> None:
        code, output, errors = ended(
            start(MADE + "blocking_layer(TIED).send('a', {})\nlayer = 1 / 0\n")
        )
        assert (code, output) == (1, "closed\n")
        assert errors.count("Traceback") == 1

    @pytest.mark.parametrize("kind", ["fork", "spawn", "forkserver"])
    def test_a_child_of_multiprocessing_closes_its_layers_as_it_ends(self, kind: str) -> None:
        lines = printed(
            f"""
            from multiprocessing import get_context
            from tests.blocking.children import use_a_layer
            if __name__ == "__main__":
                child = get_context({kind!r}).Process(target=use_a_layer)
                child.start()
                child.join()
                print(child.exitcode)
            """
        )
        assert lines == ["('a', {'number': 1})", "closed", "0"]


class TestCtrlC:
    @pytest.mark.parametrize("waits", ["receive(['a'], True, 3600)", "send('a', {})"])
    def test_it_interrupts_a_call_that_waits(self, waits: str) -> None:
        process = start(
            MADE + "from tests.blocking import layers\n"
            "from twisted.internet.defer import Deferred\n"
            "layer = blocking_layer(TIED)\n"
            "layer.send('b', {})\n"
            "layers.Tied.send = lambda *args: Deferred()\n"
            "try:\n"
            "    print('waiting')\n"
            f"    layer.{waits}\n"
            "except KeyboardInterrupt:\n"
            "    print('interrupted')\n"
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        os.kill(process.pid, signal.SIGINT)
        code, output, errors = ended(process)
        assert (code, output, errors) == (0, "interrupted\nclosed\n", "")

    def test_a_message_that_comes_after_it_is_left_to_the_next(self) -> None:
        process = start(
            MADE + "layer = blocking_layer(SILENT)\n"
            "layer.send('b', {})\n"
            "try:\n"
            "    print('waiting')\n"
            "    layer.receive(['a'], True, 3600)\n"
            "except KeyboardInterrupt:\n"
            "    layer.send('a', {'number': 1})\n"
            "    print(layer.receive(['a'], True, 60))\n"
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        os.kill(process.pid, signal.SIGINT)
        assert ended(process) == (0, "('a', {'number': 1})\n", "")


class TestLog:
    PROGRAM = (
        MADE + "import logging\n"
        "logging.basicConfig(format='%(name)s %(levelname)s %(message)s', stream=sys.stdout)\n"
        "{}\n"
        "blocking_layer(SILENT).send('a', {{}})\n"
        "from twisted.logger import Logger\n"
        "Logger('chanserv.layers.some').warn('lost {{what}}', what='it')\n"
        "Logger('stranger').warn('no business of ours')\n"
    )

    def test_what_layers_say_goes_to_pythons_logging(self) -> None:
        assert printed(self.PROGRAM.format("")) == ["chanserv WARNING lost it"]

    def test_but_not_in_a_program_that_has_set_up_twisteds_own(self) -> None:
        assert printed(self.PROGRAM.format("from twisted.internet import reactor")) == []
