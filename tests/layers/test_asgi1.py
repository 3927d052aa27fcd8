"""The adapter's rules, on layers made for the purpose.  The contract: test_asgi1_third_party."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from chanserv.errors import (
    ChannelFull,
    InvalidChannelName,
    InvalidMessage,
    LayerUnavailable,
    MessageTooLarge,
    WrongThread,
)
from chanserv.layers import asgi1_calls, asgi1_reception, asgi1_threads, face_of
from chanserv.layers.asgi1 import Asgi1ChannelLayer
from chanserv.layers.asgi1_traits import is_asgi1_layer
from chanserv.messages import Forget, GroupSend, Send, seal

PATIENCE = 60.0
"""Seconds for what must come."""


class Bare:
    """The least that makes an ASGI 1 layer: no blocking, no extensions."""

    class Full(Exception):
        pass

    class Large(Exception):
        pass

    ChannelFull: Any = Full
    MessageTooLarge: Any = Large

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.queues: dict[str, deque[tuple[str, Any]]] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None

    def send(self, channel: str, message: Any) -> None:
        self.calls.append(("send", channel))
        if self.failure is not None:
            raise self.failure
        head, mark, _ = channel.partition("!")
        with self.lock:
            self.queues.setdefault(head + mark, deque()).append((channel, message))
            self.lock.notify_all()

    def receive(self, channels: Any, block: bool = False) -> Any:
        self.calls.append(("receive", tuple(channels), block))
        if self.failure is not None:
            raise self.failure
        with self.lock:
            return self.found(channels)

    def found(self, channels: Any) -> Any:
        for channel in channels:
            if self.queues.get(channel):
                return self.queues[channel].popleft()
        return None, None

    def place(self, channel: str, message: Any) -> None:
        """Let a message be there, as if somebody else had sent it."""
        with self.lock:
            self.queues.setdefault(channel, deque()).append((channel, message))
            self.lock.notify_all()

    def waiting(self, channel: str) -> list[Any]:
        with self.lock:
            return [message for _, message in self.queues.get(channel, ())]


class Blocking(Bare):
    """One that blocks until something comes, or it is told to come back."""

    def __init__(self) -> None:
        super().__init__()
        self.blocked = 0
        self.come_back = False

    def receive(self, channels: Any, block: bool = False) -> Any:
        with self.lock:
            if block:
                self.blocked += 1
                self.lock.notify_all()
                self.lock.wait_for(
                    lambda: self.come_back or any(self.queues.get(one) for one in channels)
                )
                self.blocked -= 1
            return self.found(channels)

    def release(self) -> None:
        with self.lock:
            self.come_back = True
            self.lock.notify_all()


class Grouped(Bare):
    """One with groups, which remembers what it is asked."""

    extensions = ("groups",)

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[str, set[str]] = {}

    def group_add(self, group: str, channel: str) -> None:
        self.groups.setdefault(group, set()).add(channel)

    def group_discard(self, group: str, channel: str) -> None:
        self.groups[group].discard(channel)

    def group_channels(self, group: str) -> set[str]:
        return self.groups.get(group, set())

    def send_group(self, group: str, message: Any) -> None:
        for channel in self.groups.get(group, ()):
            self.send(channel, message)


class Case(TestCase):
    def adapted(self, layer: Any, **options: Any) -> Asgi1ChannelLayer:
        from twisted.internet import reactor

        made = Asgi1ChannelLayer(layer, reactor, **options)
        self.addCleanup(made.close)
        if isinstance(layer, Blocking):
            self.addCleanup(layer.release)
        return made

    async def until(self, condition: Callable[[], object]) -> None:
        from twisted.internet import reactor

        deadline = reactor.seconds() + PATIENCE  # type: ignore[attr-defined]
        while not condition():
            left = deadline - reactor.seconds()  # type: ignore[attr-defined]
            self.assertGreater(left, 0, "it has not come true")
            await deferLater(reactor, 0.01, lambda: None)

    async def cancelled(self, waiting: Deferred[Any]) -> None:
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)


class WhatIsALayer(TestCase):
    def test_send_and_receive_make_one(self) -> None:
        class Older:
            def send(self) -> None: ...
            def receive_many(self) -> None: ...

        for good in (Bare(), Older()):
            self.assertTrue(is_asgi1_layer(good))
        for bad in (Bare, object(), deque(), threading.Lock()):
            self.assertFalse(is_asgi1_layer(bad))


class Translation(Case):
    async def test_names_and_messages_are_checked_before_the_layer_sees_them(self) -> None:
        original = Bare()
        layer = self.adapted(original)
        await self.assertFailure(layer.send("a b", {}), InvalidChannelName)
        await self.assertFailure(layer.send("a", {"x": object()}), InvalidMessage)
        await self.assertFailure(layer.receive(["a!b"]), InvalidChannelName)
        errors = await layer.send_batch([Send("a b", {}), Send("a", {"x": {1}}), Forget("!")])
        self.assertEqual(
            [type(error) for error in errors],
            [InvalidChannelName, InvalidMessage, InvalidChannelName],
        )
        self.assertEqual(original.calls, [])

    async def test_a_full_channel_is_named_with_what_is_known_of_it(self) -> None:
        original = Bare()
        original.failure = Bare.Full()
        layer = self.adapted(original)
        error = await self.assertFailure(layer.send("process!x", {}), ChannelFull)
        self.assertEqual(error.channel, "process!")
        self.assertRegex(str(error), r"'process!' is full, says .*Bare.*not tell")
        original.capacity = 7  # type: ignore[attr-defined]
        error = await self.assertFailure(layer.send("a", {}), ChannelFull)
        self.assertEqual((error.channel, error.depth, error.capacity), ("a", 7, 7))

    async def test_a_message_that_the_layer_finds_too_large_is_told_by_its_size(self) -> None:
        original = Bare()
        original.failure = Bare.Large()
        layer = self.adapted(original)
        error = await self.assertFailure(layer.send("a", {"x": b"12345"}), MessageTooLarge)
        self.assertEqual((error.channel, error.size), ("a", 6))

    async def test_our_own_limit_is_kept_whatever_the_layer_carries(self) -> None:
        layer = self.adapted(Bare(), max_message_size=100)
        await self.assertFailure(layer.send("a", {"x": b"1" * 101}), MessageTooLarge)

    async def test_any_other_error_is_the_layers_failure_in_its_own_words(self) -> None:
        original = Bare()
        original.failure = OSError("the cable\nis cut")
        layer = self.adapted(original)
        for attempt in (layer.send("a", {}), layer.receive(["a"])):
            error = await self.assertFailure(attempt, LayerUnavailable)
            self.assertIn("Bare failed: OSError: the cable is cut", str(error))
        original.failure = None
        await layer.send("a", {"number": 1})
        (delivery,) = await layer.receive(["a"])
        self.assertEqual(delivery.message, {"number": 1})

    async def test_an_error_of_an_exception_class_that_the_layer_lacks_is_a_failure(self) -> None:
        original = Bare()
        original.ChannelFull = None
        original.failure = Bare.Full("full")
        error = await self.assertFailure(self.adapted(original).send("a", {}), LayerUnavailable)
        self.assertIn("Full: full", str(error))

    async def test_what_it_gives_outside_the_rules_is_lost_counted_and_told(self) -> None:
        original = Bare()
        layer = self.adapted(original)
        original.queues["a"] = deque([("a", {"x": object()}), ("a", {"number": 1})])
        (delivery,) = await layer.receive(["a"])
        self.assertEqual(delivery.message, {"number": 1})
        self.assertEqual((await layer.global_statistics())["messages_lost_count"], 1)

    async def test_what_it_gives_is_nobody_elses_to_change(self) -> None:
        original = Bare()
        message = {"list": [1]}
        layer = self.adapted(original)
        original.queues["a"] = deque([("a", message)])
        (delivery,) = await layer.receive(["a"])
        message["list"].append(2)
        self.assertEqual(delivery.message, {"list": [1]})

    async def test_what_it_does_to_a_message_is_its_own_affair(self) -> None:
        class Changes(Grouped):
            def send(self, channel: str, message: Any) -> None:
                message["list"].append(channel)
                super().send(channel, message)

        layer = self.adapted(Changes())
        message = seal({"list": []})
        await layer.group_add("g", "b")
        await layer.send("a", message)
        await layer.send_group("g", message)
        await layer.send_batch([Send("c", message), GroupSend("g", message)])
        self.assertEqual(message, {"list": []})

    async def test_an_extension_that_it_lacks_is_named(self) -> None:
        layer = self.adapted(Bare())
        self.assertEqual(set(layer.extensions), {"statistics"})
        attempts: list[Deferred[Any]] = [
            layer.group_add("group", "a"),
            layer.group_discard("group", "a"),
            layer.group_channels("group"),
            layer.send_group("group", {}),
        ]
        for attempt in attempts:
            error = await self.assertFailure(attempt, LayerUnavailable)
            self.assertIn("lacks the ASGI 1 extension 'groups'", str(error))
        (error,) = await layer.send_batch([GroupSend("group", {})])
        self.assertIsInstance(error, LayerUnavailable)
        error = await self.assertFailure(layer.flush(), LayerUnavailable)
        self.assertIn("'flush'", str(error))

    async def test_a_layer_of_the_older_spec_is_received_from_by_its_older_name(self) -> None:
        class Older:
            def __init__(self) -> None:
                self.original = Bare()
                self.send = self.original.send

            def receive_many(self, channels: Any) -> Any:
                return self.original.receive(channels)

        layer = self.adapted(Older())
        waiting = layer.receive(["a"])
        await layer.send("a", {"number": 1})
        (delivery,) = await waiting
        self.assertEqual(delivery.message, {"number": 1})

    async def test_a_layer_that_refuses_to_block_is_looked_into(self) -> None:
        class Refuses(Bare):
            def receive(self, channels: Any, block: bool = False) -> Any:
                if block:
                    raise NotImplementedError
                return super().receive(channels)

        layer = self.adapted(Refuses())
        waiting = layer.receive(["a"])
        await layer.send("a", {"number": 1})
        (delivery,) = await waiting
        self.assertEqual(delivery.message, {"number": 1})

    def test_expiries_are_the_layers_own(self) -> None:
        original: Any = Bare()
        self.assertEqual(self.adapted(original).expiry, 60)
        self.assertEqual(self.adapted(original).group_expiry, 86_400)
        original.message_expiry = 5
        original.group_expiry = 7
        layer = self.adapted(original)
        self.assertEqual((layer.expiry, layer.group_expiry), (5, 7))


class OwnCounts(Case):
    async def test_without_statistics_this_process_counts_what_it_sends(self) -> None:
        original = Bare()
        layer = self.adapted(original)
        await layer.send("process!a", {})
        await layer.send("process!b", {})
        await layer.send("a", {})
        original.failure = Bare.Full()
        await self.assertFailure(layer.send("a", {}), ChannelFull)
        original.failure = None
        counts = await layer.channel_statistics("process!x")
        self.assertEqual((counts["messages_count"], counts["channel_full_count"]), (2, 0))
        counts = await layer.global_statistics()
        self.assertEqual((counts["messages_count"], counts["channel_full_count"]), (3, 1))

    async def test_only_so_many_channels_have_counts_of_their_own(self) -> None:
        self.patch(asgi1_calls, "COUNTED_MAILBOXES", 2)
        layer = self.adapted(Bare())
        for channel in "abc":
            await layer.send(channel, {})
        counts = [(await layer.channel_statistics(one))["messages_count"] for one in "abc"]
        self.assertEqual(counts, [0, 1, 1])
        self.assertEqual((await layer.global_statistics())["messages_count"], 3)

    async def test_its_own_statistics_go_before_ours(self) -> None:
        class Counts(Bare):
            extensions = ("statistics",)

            def global_statistics(self) -> Any:
                return {"messages_count": 5, "channel_full_count": 6}

            def channel_statistics(self, channel: str) -> Any:
                return {"messages_pending": 7, "messages_max_age": 8.9, "of": channel}

        layer = self.adapted(Counts())
        self.assertEqual(
            await layer.global_statistics(),
            {
                "messages_count": 5,
                "channel_full_count": 6,
                "messages_expired_count": 0,
                "messages_lost_count": 0,
                "messages_pending": 0,
                "messages_max_age": 0,
            },
        )
        counts = await layer.channel_statistics("process!x")
        self.assertEqual((counts["messages_pending"], counts["messages_max_age"]), (7, 8))


class Memberships(Case):
    async def test_forget_ends_what_was_begun_here(self) -> None:
        original = Grouped()
        layer = self.adapted(original)
        await gatherResults(
            [layer.group_add(group, one) for group in ("g", "h") for one in ("p!x", "p!y")]
        )
        await layer.group_discard("h", "p!x")
        original.groups["h"].add("p!x")
        await layer.send_batch([Forget("p!x")])
        self.assertEqual(original.groups, {"g": {"p!y"}, "h": {"p!x", "p!y"}})

    async def test_only_so_many_members_are_remembered(self) -> None:
        self.patch(asgi1_calls, "KNOWN_MEMBERS", 2)
        original = Grouped()
        layer = self.adapted(original)
        for channel in ("first", "second", "third"):
            await layer.group_add("g", channel)
        await layer.send_batch([Forget(one) for one in ("first", "second", "third")])
        self.assertEqual(original.groups, {"g": {"first"}})


class Receiving(Case):
    async def test_a_message_for_a_cancelled_receive_goes_to_the_next(self) -> None:
        original = Blocking()
        layer = self.adapted(original)
        cancelled = layer.receive(["a"])
        await self.until(lambda: original.blocked)
        await self.cancelled(cancelled)
        waiting = layer.receive(["a", "b"])
        original.send("a", {"number": 1})
        (delivery,) = await waiting
        self.assertEqual(delivery.message, {"number": 1})

    async def test_a_message_that_nobody_here_waits_for_goes_back_into_the_layer(self) -> None:
        original = Blocking()
        layer = self.adapted(original)
        cancelled = layer.receive(["a"])
        await self.until(lambda: original.blocked)
        await self.cancelled(cancelled)
        original.place("a", {"number": 1})
        await self.until(lambda: not original.blocked)
        await self.until(lambda: original.waiting("a"))
        self.assertEqual(original.waiting("a"), [{"number": 1}])
        self.assertEqual((await layer.global_statistics())["messages_lost_count"], 0)

    async def test_one_that_has_no_room_there_any_more_is_lost_counted_and_told(self) -> None:
        original = Blocking()
        layer = self.adapted(original)
        cancelled = layer.receive(["a"])
        await self.until(lambda: original.blocked)
        await self.cancelled(cancelled)
        original.failure = Bare.Full()
        original.place("a", {"number": 1})
        lost = 0
        while not lost:
            lost = (await layer.channel_statistics("a"))["messages_lost_count"]
        self.assertEqual(lost, 1)

    async def test_close_puts_back_what_a_call_brings_meanwhile(self) -> None:
        original = Blocking()
        layer = self.adapted(original)
        waiting = layer.receive(["a"])
        await self.until(lambda: original.blocked)
        closing = gatherResults([layer.close(), layer.close()])
        await self.assertFailure(waiting, LayerUnavailable)
        self.assertFalse(closing.called)
        original.send("a", {"number": 1})
        await closing
        self.assertEqual(original.waiting("a"), [{"number": 1}])

    async def test_close_gives_up_on_a_call_that_does_not_come_back(self) -> None:
        for module in (asgi1_reception, asgi1_threads):
            self.patch(module, "CLOSE_PATIENCE", 0.01)
        original = Blocking()
        layer = self.adapted(original)
        waiting = layer.receive(["a"])
        await self.until(lambda: original.blocked)
        closing = layer.close()
        await self.assertFailure(waiting, LayerUnavailable)
        await closing
        # What comes even then is not lost.
        original.send("a", {"number": 1})
        await self.until(lambda: not original.blocked)
        await self.until(lambda: original.waiting("a"))

    async def test_flush_forgets_what_is_kept(self) -> None:
        class Flushed(Blocking):
            extensions = ("flush",)

            def flush(self) -> None:
                pass

        self.patch(asgi1_reception, "KEPT_FOR", 600.0)
        original = Flushed()
        layer = self.adapted(original)
        cancelled = layer.receive(["a"])
        await self.until(lambda: original.blocked)
        await self.cancelled(cancelled)
        original.place("a", {"number": 1})
        await self.until(lambda: layer._reception._kept)
        await layer.flush()
        await layer.send("a", {"number": 2})
        (delivery,) = await layer.receive(["a"])
        self.assertEqual(delivery.message, {"number": 2})

    async def test_whatever_this_process_sends_cuts_a_pause_short(self) -> None:
        from twisted.internet import reactor

        for name in ("LEAST_PAUSE", "MOST_PAUSE"):
            self.patch(asgi1_threads, name, 600.0)
        layer = self.adapted(Grouped())
        face = face_of(layer, reactor)
        await layer.group_add("g", "a")
        for send in (
            lambda: layer.send("a", {}),
            lambda: layer.send_batch([Send("a", {})]),
            lambda: layer.send_group("g", {}),
            lambda: deferToThread(face.send, "a", {}),
            lambda: deferToThread(face.send_batch, [Send("a", {})]),
            lambda: deferToThread(face.send_group, "g", {}),
        ):
            waiting = layer.receive(["a"])
            await send()
            await waiting

    async def test_receives_of_the_same_channels_share_a_thread(self) -> None:
        original = Blocking()
        layer = self.adapted(original)
        waiting = [layer.receive(names) for names in (["a", "b"], ["b", "a"], ["a", "b", "a"])]
        await self.until(lambda: original.blocked)
        self.assertEqual(original.blocked, 1)
        for number in range(3):
            original.send("ab"[number % 2], {"number": number})
        got = await gatherResults(waiting)
        self.assertEqual(sorted(one.message["number"] for (one,) in got), [0, 1, 2])

    async def test_there_are_only_so_many_threads(self) -> None:
        self.patch(asgi1_reception, "MAX_LISTENERS", 2)
        original = Blocking()
        layer = self.adapted(original)
        waiting = [layer.receive([name]) for name in ("a", "b", "a")]
        error = await self.assertFailure(layer.receive(["c"]), LayerUnavailable)
        self.assertIn("2 sets of channels", str(error))
        for name in "aab":
            original.send(name, {})
        await gatherResults(waiting)

    async def test_threads_with_nothing_to_do_make_room_for_others(self) -> None:
        self.patch(asgi1_reception, "MAX_LISTENERS", 2)
        layer = self.adapted(Bare())
        for number in range(10):
            await layer.send(f"single?{number}", {})
            await self.until(lambda: len(layer._reception._leaving) < 2)
            await layer.receive([f"single?{number}"])

    async def test_close_waits_for_those_that_have_made_room_too(self) -> None:
        self.patch(asgi1_reception, "MAX_LISTENERS", 2)
        original = Blocking()
        layer = self.adapted(original)
        first = layer.receive(["a"])
        await self.until(lambda: original.blocked == 1)
        await self.cancelled(first)
        waiting = [layer.receive([name]) for name in "bc"]
        await self.until(lambda: original.blocked == 3)
        closing = layer.close()
        for one in waiting:
            await self.assertFailure(one, LayerUnavailable)
        for name in "cb":
            original.place(name, {"name": name})
        await self.until(lambda: original.blocked == 1)
        self.assertFalse(closing.called)
        original.place("a", {"name": "a"})
        await closing
        for name in "abc":
            self.assertEqual(original.waiting(name), [{"name": name}])

    async def test_a_thread_with_nothing_to_do_ends_and_another_takes_its_place(self) -> None:
        self.patch(asgi1_threads, "LINGER", 0.01)
        layer = self.adapted(Bare())
        for number in range(3):
            await layer.send("a", {"number": number})
            (delivery,) = await layer.receive(["a"])
            self.assertEqual(delivery.message, {"number": number})
            await self.until(lambda: not layer._reception._listeners)

    async def test_a_receive_of_no_channels_waits_until_it_is_closed(self) -> None:
        layer = self.adapted(Bare())
        waiting = layer.receive([])
        await layer.close()
        await self.assertFailure(waiting, LayerUnavailable)

    async def test_the_names_are_asked_for_in_another_order_each_time(self) -> None:
        original = Bare()
        layer = self.adapted(original)
        await self.cancelled(layer.receive(["other"]))
        waiting = layer.receive(["a", "b", "c"])
        await self.until(lambda: len({one[1] for one in original.calls if len(one[1]) == 3}) == 3)
        await layer.send("a", {})
        await waiting


class Calls(Case):
    async def test_only_so_many_calls_wait(self) -> None:
        let_go = threading.Event()
        self.addCleanup(let_go.set)

        class Stuck(Bare):
            def send(self, channel: str, message: Any) -> None:
                let_go.wait(PATIENCE)

        layer = self.adapted(Stuck())
        layer._lane._max_calls = 2
        sending = [layer.send("a", {})]
        await self.until(lambda: not layer._lane._calls)
        sending += [layer.send("a", {}) for _ in range(2)]
        error = await self.assertFailure(layer.send("a", {}), LayerUnavailable)
        self.assertIn("2 calls wait", str(error))
        let_go.set()
        await gatherResults(sending)

    async def test_what_was_asked_for_before_close_is_done(self) -> None:
        original = Bare()
        layer = self.adapted(original)
        sending = [layer.send("a", {"number": number}) for number in range(10)]
        await layer.close()
        await gatherResults(sending)
        self.assertEqual(len(original.waiting("a")), 10)

    def test_an_idle_layer_has_no_thread_to_wait_for(self) -> None:
        self.successResultOf(self.adapted(Bare()).close())


class TheFace(Case):
    async def test_it_calls_the_layer_in_the_callers_own_thread(self) -> None:
        from twisted.internet import reactor

        callers: list[str] = []

        class Noted(Grouped):
            def send(self, channel: str, message: Any) -> None:
                callers.append(threading.current_thread().name)
                super().send(channel, message)

        face = face_of(self.adapted(Noted()), reactor)

        def work() -> str:
            face.send("a", {})
            face.group_add("g", "a")
            face.send_group("g", {})
            face.send_batch([Send("a", {}), Send("a b", {})])
            return threading.current_thread().name

        name = await deferToThread(work)
        self.assertEqual(callers, [name] * 3)
        with self.assertRaises(WrongThread):
            face.receive(["a"])

    def test_it_needs_no_reactor(self) -> None:
        face = face_of(Asgi1ChannelLayer(Bare(), None), None)
        face.send("process!x", {"number": 1})
        self.assertEqual(face.receive(["process!"], True), ("process!x", {"number": 1}))
        self.assertEqual(face.receive(["process!"]), (None, None))
        self.assertEqual(face.receive(["process!"], True, 0.01), (None, None))

    async def test_after_close_it_says_so(self) -> None:
        from twisted.internet import reactor

        layer = self.adapted(Bare())
        face = face_of(layer, reactor)
        await layer.close()
        await self.assertFailure(deferToThread(face.send, "a", {}), LayerUnavailable)
