"""Blocking faces in processes that run no reactor, and in trouble."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chanserv.errors import ChannelFull, ConfigurationError, LayerUnavailable, WrongThread
from chanserv.layers import MemoryChannelLayer, blocking_layer, face_of
from chanserv.layers.io_thread import runs_here
from chanserv.layers.reactor_face import ReactorFace
from chanserv.messages import Delivery, Outcome, seal
from chanserv.testing.fakes import PlainLayer


class TestWithoutReactor:
    def test_a_layer_is_made_from_a_spec(self) -> None:
        layer = blocking_layer("memory:", capacity=1)
        layer.send("a", {"number": 1})
        with pytest.raises(ChannelFull):
            layer.send("a", {})
        assert layer.receive(["a"]) == ("a", {"number": 1})

    def test_a_wrong_spec_is_a_configuration_error(self) -> None:
        with pytest.raises(ConfigurationError, match="unknown key 'size'"):
            blocking_layer("memory:", size=5)

    def test_the_main_thread_may_wait(self) -> None:
        layer = blocking_layer("memory:")
        sender = threading.Timer(0.01, layer.send, ("a", {"number": 1}))
        sender.start()
        assert layer.receive(["a"], block=True, timeout=30) == ("a", {"number": 1})
        sender.join()

    def test_threads_talk_to_each_other(self) -> None:
        layer = blocking_layer("memory:")
        got: list[Any] = []
        readers = [
            threading.Thread(target=lambda: got.append(layer.receive(["a"], True, 30)))
            for _ in range(4)
        ]
        for reader in readers:
            reader.start()
        for number in range(4):
            layer.send("a", {"number": number})
        for reader in readers:
            reader.join()
        assert sorted(message["number"] for _, message in got) == [0, 1, 2, 3]

    def test_a_thread_that_was_served_as_its_time_ended_has_its_message(self) -> None:
        layer = blocking_layer("memory:")
        got: list[Any] = []

        def read() -> None:
            for _ in range(200):
                got.append(layer.receive(["a"], True, 0.0001)[1])

        reader = threading.Thread(target=read)
        reader.start()
        sent = 0
        while reader.is_alive():
            try:
                layer.send("a", {})
                sent += 1
            except ChannelFull:
                pass
        reader.join()
        left = 0
        while layer.receive(["a"])[0]:
            left += 1
        assert sum(message is not None for message in got) + left == sent

    def test_an_interrupt_leaves_the_message_to_others(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        layer = blocking_layer("memory:")

        def interrupted(event: threading.Event, timeout: float | None = None) -> bool:
            layer.send("a", {"number": 1}, "single?x")
            raise KeyboardInterrupt

        monkeypatch.setattr(threading.Event, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            layer.receive(["a"], block=True, timeout=30)
        monkeypatch.undo()
        assert layer.receive(["single?x"]) == (None, None)
        assert layer.receive(["a"]) == ("a", {"number": 1})
        assert layer.receive(["single?x"]) == ("single?x", {"receipt": "settled"})
        assert layer.global_statistics()["messages_pending"] == 0

    def test_a_thread_that_starts_to_wait_wakes_those_it_finds_news_for(self) -> None:
        now = [0.0]
        original = MemoryChannelLayer()
        original._shared._now = lambda: now[0]
        layer = face_of(original, None)
        layer.send("a", {}, "single?x")
        got: list[Any] = []
        first = threading.Thread(target=lambda: got.append(layer.receive(["single?x"], True, 30)))
        first.start()
        while not original._shared._readers:
            time.sleep(0.001)
        now[0] = 60.0
        second = threading.Thread(target=layer.receive, args=(["other"], True, 30))
        second.start()
        first.join(10)
        told = list(got)
        layer.send("other", {})
        second.join()
        first.join()
        assert told == [("single?x", {"receipt": "expired"})]

    def test_nothing_of_it_installs_a_reactor(self) -> None:
        program = (
            "import sys\n"
            "from chanserv.layers import blocking_layer\n"
            "layer = blocking_layer('memory:')\n"
            "layer.send('a', {'number': 1})\n"
            "print(layer.receive(['a'], block=True))\n"
            "print('twisted.internet.reactor' in sys.modules)\n"
        )
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True
        )
        assert (ran.stdout, ran.stderr) == ("('a', {'number': 1})\nFalse\n", "")


def in_thread(call: Callable[..., object], *args: object) -> object:
    """Call it in a thread, the main one having perhaps run a reactor before."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(call, *args).result()


class StoppedReactor:
    """A reactor that takes calls and makes none of them."""

    running = True

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def callFromThread(self, call: Callable[[], object]) -> None:
        self.calls.append(call)


class TestReactorFaceInTrouble:
    def test_a_reactor_that_does_not_answer_is_said_to(self) -> None:
        reactor = StoppedReactor()
        original = MemoryChannelLayer()
        face = ReactorFace(PlainLayer(original), reactor, answer_timeout=0.01)
        with pytest.raises(LayerUnavailable, match=r"not answered in 0\.01 s"):
            in_thread(face.send, "a", {})
        # What was given up is not done later, behind the caller's back.
        for call in reactor.calls:
            call()
        assert original.global_statistics().result["messages_count"] == 0  # type: ignore[union-attr, attr-defined]

    def test_the_main_thread_of_a_reactor_yet_to_run_is_refused(self) -> None:
        reactor = StoppedReactor()
        reactor.running = False
        face = face_of(PlainLayer(MemoryChannelLayer()), reactor)
        with pytest.raises(WrongThread, match="deferToThread"):
            face.send("a", {})

    def test_a_layer_that_raises_where_it_should_fail_is_answered_all_the_same(self) -> None:
        class Raising(PlainLayer):
            def send(self, *args: object) -> Deferred[None]:
                raise ZeroDivisionError

        class AtOnce(StoppedReactor):
            def callFromThread(self, call: Callable[[], object]) -> None:
                threading.Thread(target=call).start()

        face = face_of(Raising(MemoryChannelLayer()), AtOnce())
        with pytest.raises(ZeroDivisionError):
            in_thread(face.send, "a", {})


class AtOnce(StoppedReactor):
    """A reactor that does every call at once, whichever thread it comes from."""

    def callFromThread(self, call: Callable[[], object]) -> None:
        call()

    def callLater(self, delay: float, call: Callable[..., object]) -> Any:
        return Clock().callLater(delay, call)


class Answering(PlainLayer):
    """A layer whose receives the test answers."""

    def __init__(self) -> None:
        super().__init__(MemoryChannelLayer())
        self.cancelled = 0
        self.receiving: Deferred[list[Delivery]] = Deferred(self.cancel)

    def cancel(self, receiving: Deferred[list[Delivery]]) -> None:
        self.cancelled += 1

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        return self.receiving


class TestWhoGivesUp:
    @pytest.mark.parametrize("interrupt", [KeyboardInterrupt, TimeoutError])
    def test_a_message_that_comes_all_the_same_is_the_next_ones(
        self, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
    ) -> None:
        layer = Answering()
        face = ReactorFace(layer, AtOnce(), must_not_wait=lambda: False)
        outcomes: list[Outcome] = []

        def interrupted(future: Future[Any], timeout: float | None = None) -> Any:
            monkeypatch.undo()
            delivery = Delivery(("p!x", "p!y"), seal({"number": 1}), outcomes.append)
            layer.receiving.callback([delivery])
            raise interrupt

        monkeypatch.setattr(Future, "result", interrupted)
        with pytest.raises((KeyboardInterrupt, LayerUnavailable)):
            face.receive(["p!"], block=True, timeout=30)
        assert face.receive(["p!"]) == ("p!x", {"number": 1})
        assert face.receive(["p!"]) == ("p!y", {"number": 1})
        assert outcomes == [Outcome.SETTLED]

    def test_a_receive_that_is_interrupted_is_cancelled(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        layer = Answering()
        face = ReactorFace(layer, AtOnce(), must_not_wait=lambda: False)

        def interrupted(future: Future[Any], timeout: float | None = None) -> Any:
            monkeypatch.undo()
            raise KeyboardInterrupt

        monkeypatch.setattr(Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            face.receive(["p!"], block=True, timeout=30)
        assert layer.cancelled == 1

    def test_a_layer_that_fails_with_a_time_out_of_its_own_is_heard(self) -> None:
        layer = Answering()
        layer.receiving.errback(TimeoutError("of the layer"))
        face = ReactorFace(layer, AtOnce(), must_not_wait=lambda: False)
        with pytest.raises(TimeoutError, match="of the layer"):
            face.receive(["p!"], block=True, timeout=30)


class TestWhatIsThere:
    def test_a_layer_that_can_tell_at_once_is_asked(self) -> None:
        asked: list[object] = []

        class Telling(PlainLayer):
            def receive_now(self, *args: object) -> Deferred[list[Delivery]]:
                asked.append(args)
                found = [Delivery(("a",), seal({"number": 1}))] if len(asked) == 2 else []
                return succeed(found)

        face = ReactorFace(Telling(MemoryChannelLayer()), AtOnce(), must_not_wait=lambda: False)
        assert face.receive(["a"]) == (None, None)
        assert face.receive(["a"]) == ("a", {"number": 1})
        assert asked == [(("a",), 1)] * 2


class TheReactorsThread(TestCase):
    async def test_it_is_the_one_that_runs_the_reactor(self) -> None:
        from twisted.internet import reactor
        from twisted.internet.task import deferLater
        from twisted.internet.threads import deferToThread

        for here in (runs_here(), runs_here(reactor)):
            await deferLater(reactor, 0, lambda: None)  # type: ignore[arg-type]
            self.assertTrue(here())
            self.assertFalse(await deferToThread(here))

    def test_it_is_none_while_no_reactor_runs(self) -> None:
        self.assertFalse(runs_here(Clock())())
