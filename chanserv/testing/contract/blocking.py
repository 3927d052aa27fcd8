"""
The blocking face, from real threads.

The author of a layer with a face of its own (see L{chanserv.layers.blocking})
mixes L{BlockingLayerContract} into a trial C{TestCase}::

    class MyFaceKeepsTheContract(BlockingLayerContract, TestCase):
        def make_layer(self, **config):
            from twisted.internet import reactor
            return MyLayer(reactor, **config)

The layer lives on the reactor that runs the tests, and the tests' threads come
from its pool; so nothing here is faked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.threads import deferToThread
from zope.interface.verify import verifyObject

from chanserv.errors import (
    ChannelFull,
    InvalidChannelName,
    InvalidMessage,
    LayerUnavailable,
    MessageTooLarge,
    WrongThread,
)
from chanserv.interfaces import IBlockingChannelLayer, IChannelLayer
from chanserv.messages import GroupSend, Send
from chanserv.testing.contract.case import ENOUGH, LayerCase

T = TypeVar("T")

MANY = 250
"""Messages from each sender: enough for threads to get into each other's way."""

LONG = 30.0
"""Seconds to wait for what is bound to come."""


class BlockingLayerContract(LayerCase):
    """
    All that an L{IBlockingChannelLayer<chanserv.interfaces.IBlockingChannelLayer>}
    promises.

    Mix it into C{twisted.trial.unittest.TestCase}, before that.
    """

    def make_face(self, layer: IChannelLayer) -> IBlockingChannelLayer:
        """The face of C{layer}: what C{face_of} gives, unless overridden."""
        from twisted.internet import reactor

        from chanserv.layers import face_of

        return face_of(layer, reactor)

    async def both(self, **config: Any) -> tuple[IChannelLayer, IBlockingChannelLayer]:
        """A layer and its face."""
        layer = await self.layer(**config)
        return layer, self.make_face(layer)

    def in_thread(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> Deferred[T]:
        """Call it in a thread of the reactor's pool."""
        return deferToThread(call, *args, **kwargs)

    async def raised(
        self, error: type[BaseException], call: Callable[..., Any], *args: Any
    ) -> BaseException:
        """Hold that C{call} raises C{error} in a thread, and return that."""
        caught: BaseException = await self.assertFailure(self.in_thread(call, *args), error)
        self.assertIs(type(caught), error)
        return caught

    # The face

    async def test_it_provides_the_interface(self) -> None:
        _, face = await self.both()
        self.assertTrue(verifyObject(IBlockingChannelLayer, face))

    async def test_it_says_of_itself_what_its_layer_says(self) -> None:
        layer, face = await self.both(expiry=7, group_expiry=11)
        for name in ("extensions", "expiry", "group_expiry", "settles"):
            self.assertEqual(getattr(face, name), getattr(layer, name))

    async def test_its_exceptions_are_named_on_it_as_the_spec_has_them(self) -> None:
        _, face = await self.both()
        self.assertIs(face.ChannelFull, ChannelFull)
        self.assertIs(face.MessageTooLarge, MessageTooLarge)

    async def test_every_call_on_the_reactors_thread_is_refused(self) -> None:
        layer, face = await self.both()
        # Trial begins a test before it runs the reactor.
        await self.a_moment(0.0)
        calls: list[Callable[[], object]] = [
            lambda: face.send("channel", {"number": 1}),
            lambda: face.send_batch([Send("channel", {"number": 1})]),
            lambda: face.receive(["channel"]),
            lambda: face.receive(["channel"], block=True),
            lambda: face.new_channel("process!"),
            lambda: face.group_add("group", "channel"),
            lambda: face.group_discard("group", "channel"),
            lambda: face.group_channels("group"),
            lambda: face.send_group("group", {}),
            lambda: face.flush(),
            lambda: face.global_statistics(),
            lambda: face.channel_statistics("channel"),
        ]
        for call in calls:
            with self.assertRaises(WrongThread):
                call()
        self.assertEqual(await self.read(layer, "channel"), [])

    # Send and receive

    async def test_a_thread_reads_what_a_thread_sent(self) -> None:
        _, face = await self.both()
        sent = {"text": "hello", "headers": [[b"a", b"b"]], "nothing": None}
        await self.in_thread(face.send, "channel", sent)
        channel, message = await self.in_thread(face.receive, ["channel"])
        self.assertEqual((channel, message), ("channel", sent))
        self.assertIs(type(message), dict)

    async def test_a_thread_reads_what_the_reactor_sent(self) -> None:
        layer, face = await self.both()
        await layer.send("process!x", {"number": 1})
        got = await self.in_thread(face.receive, ["process!"])
        self.assertEqual(got, ("process!x", {"number": 1}))

    async def test_the_reactor_reads_what_a_thread_sent(self) -> None:
        layer, face = await self.both()
        waiting = layer.receive(["process!"])
        await self.in_thread(face.send, "process!x", {"number": 1})
        (delivery,) = await waiting
        self.assertEqual(delivery.recipients, ("process!x",))

    async def test_a_thread_sends_a_batch(self) -> None:
        layer, face = await self.both(capacity=1)
        await layer.group_add("group", "member")
        first, second, third = await self.in_thread(
            face.send_batch,
            [Send("one", {"number": 1}), Send("one", {}), GroupSend("group", {"number": 2})],
        )
        self.assertIsNone(first)
        self.assertIsInstance(second, ChannelFull)
        self.assertIsNone(third)
        self.assertEqual(self.numbers(await self.read(layer, "one")), [1])
        self.assertEqual(self.numbers(await self.read(layer, "member")), [2])

    async def test_receive_gives_two_nones_where_nothing_waits(self) -> None:
        _, face = await self.both()
        self.assertEqual(await self.in_thread(face.receive, ["channel", "process!"]), (None, None))

    async def test_receive_gives_messages_in_their_order(self) -> None:
        _, face = await self.both()

        def there_and_back() -> list[object]:
            for number in range(20):
                face.send("channel", {"number": number})
            return [(face.receive(["channel"])[1] or {})["number"] for _ in range(20)]

        self.assertEqual(await self.in_thread(there_and_back), list(range(20)))

    async def test_receive_gives_up_when_its_time_is_over(self) -> None:
        layer, face = await self.both()
        got = await self.in_thread(face.receive, ["channel"], block=True, timeout=0.05)
        self.assertEqual(got, (None, None))
        await layer.send("channel", {"number": 1})
        self.assertEqual(self.numbers(await self.read(layer, "channel")), [1])

    async def test_a_blocked_receive_gets_what_another_thread_sends(self) -> None:
        _, face = await self.both()
        waiting = self.in_thread(face.receive, ["other", "channel"], block=True, timeout=LONG)
        await self.in_thread(face.send, "channel", {"number": 1})
        self.assertEqual(await waiting, ("channel", {"number": 1}))

    async def test_a_blocked_receive_gets_what_the_reactor_sends(self) -> None:
        layer, face = await self.both()
        waiting = self.in_thread(face.receive, ["process!"], block=True, timeout=LONG)
        await layer.send("process!x", {"number": 1})
        self.assertEqual(await waiting, ("process!x", {"number": 1}))

    async def test_a_group_message_comes_out_once_for_each_member(self) -> None:
        layer, face = await self.both()
        members = {f"process!{number}" for number in range(5)}
        for channel in members:
            await layer.group_add("group", channel)
        await layer.send_group("group", {"list": [1]})
        await layer.send("process!last", {"list": [2]})

        def read_and_change() -> list[Any]:
            got = []
            for _ in range(6):
                channel, message = face.receive(["process!"], block=True, timeout=LONG)
                assert message is not None
                got.append((channel, list(message["list"])))  # type: ignore[call-overload]
                message["list"].append(9)  # type: ignore[attr-defined]
                message["new"] = True
            return got

        got = await self.in_thread(read_and_change)
        self.assertEqual({channel for channel, _ in got[:5]}, members)
        self.assertEqual([items for _, items in got], [[1]] * 5 + [[2]])
        self.assertEqual(await self.in_thread(face.receive, ["process!"]), (None, None))

    async def test_a_message_is_settled_as_it_is_handed_over(self) -> None:
        layer, face = await self.both()
        await self.in_thread(face.send, "channel", {}, "single?x")
        await self.in_thread(face.receive, ["channel"])
        channel, message = await self.in_thread(face.receive, ["single?x"])
        if layer.settles:
            self.assertEqual((channel, message), ("single?x", {"receipt": "settled"}))
        else:
            self.assertEqual((channel, message), (None, None))

    async def test_a_thread_may_wait_for_the_reactor_to_settle(self) -> None:
        layer, face = await self.both()
        if not layer.settles:
            return
        await self.in_thread(face.send, "channel", {}, "single?x")
        waiting = self.in_thread(face.receive, ["single?x"], block=True, timeout=LONG)
        (await self.take_one(layer, "channel")).settle()
        self.assertEqual(await waiting, ("single?x", {"receipt": "settled"}))

    # The other methods

    async def test_groups_work_from_threads(self) -> None:
        layer, face = await self.both()

        def work() -> list[str]:
            face.group_add("group", "process!x")
            face.group_add("group", "channel")
            face.send_group("group", {"number": 1})
            face.group_discard("group", "channel")
            return face.group_channels("group")

        self.assertEqual(await self.in_thread(work), ["process!x"])
        self.assertEqual(self.numbers(await self.read(layer, "process!", "channel")), [1, 1])

    async def test_new_channels_can_be_made_in_threads(self) -> None:
        _, face = await self.both()
        made = await gatherResults([self.in_thread(face.new_channel, "process!") for _ in range(8)])
        self.assertEqual(len(set(made)), 8)
        self.assertTrue(all(channel.startswith("process!") for channel in made))

    async def test_statistics_and_flush_work_from_threads(self) -> None:
        layer, face = await self.both()
        await layer.send("channel", {})
        self.assertEqual((await self.in_thread(face.global_statistics))["messages_pending"], 1)
        counts = await self.in_thread(face.channel_statistics, "channel")
        self.assertEqual(counts["messages_count"], 1)
        await self.in_thread(face.flush)
        self.assertEqual(await self.read(layer, "channel"), [])

    # Errors

    async def test_errors_are_raised_as_they_are(self) -> None:
        _, face = await self.both(capacity=1, max_message_size=1000)
        await self.in_thread(face.send, "channel", {})
        full = await self.raised(ChannelFull, face.send, "channel", {})
        assert isinstance(full, ChannelFull)
        self.assertEqual((full.channel, full.depth, full.capacity), ("channel", 1, 1))
        large = await self.raised(MessageTooLarge, face.send, "other", {"x": b"x" * 2000})
        assert isinstance(large, MessageTooLarge)
        self.assertEqual(large.limit, 1000)
        invalid = await self.raised(InvalidMessage, face.send, "other", {"a": [object()]})
        assert isinstance(invalid, InvalidMessage)
        self.assertEqual(invalid.path, "message['a'][0]")
        await self.raised(InvalidMessage, face.send_group, "group", {"a": object()})

    async def test_bad_names_are_refused(self) -> None:
        _, face = await self.both()
        for call, args in (
            (face.send, ("a b", {})),
            (face.receive, (["a b"],)),
            (face.receive, (["process!local"],)),
            (face.new_channel, ("ordinary",)),
            (face.group_add, ("a b", "channel")),
            (face.group_add, ("group", "a b")),
            (face.group_discard, ("group", "a b")),
            (face.group_channels, ("a!",)),
            (face.send_group, ("a b", {})),
            (face.channel_statistics, ("a b",)),
        ):
            await self.raised(InvalidChannelName, call, *args)

    async def test_a_closed_layer_raises_for_who_calls_and_for_who_waits(self) -> None:
        layer, face = await self.both()
        waiting = self.in_thread(face.receive, ["channel"], block=True, timeout=LONG)
        await self.in_thread(face.send, "other", {})
        # For the thread to block.  Should it be later, it fails all the same.
        await self.a_moment(0.05)
        await layer.close()
        await self.assertFailure(waiting, LayerUnavailable)
        await self.raised(LayerUnavailable, face.send, "channel", {})
        await self.raised(LayerUnavailable, face.receive, ["channel"])

    async def a_moment(self, seconds: float) -> None:
        """Let the reactor run."""
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        await deferLater(reactor, seconds, lambda: None)

    # Many at once

    async def test_many_senders_and_readers_lose_and_double_nothing(self) -> None:
        _, face = await self.both(capacity=50)
        await self._many(face, readers=3)

    async def test_threads_and_reactor_share_the_reading_and_lose_nothing(self) -> None:
        layer, face = await self.both(capacity=50)
        read: list[int] = []
        stopped = False
        waiting: Deferred[Any] = Deferred()

        def more(deliveries: list[Any] | None = None) -> None:
            nonlocal waiting
            read.extend(self.numbers(deliveries or []))
            if not stopped:
                waiting = layer.receive(["one", "two"], 5)
                waiting.addCallbacks(more, lambda failure: failure.trap(CancelledError))

        more()
        await self._many(face, readers=1, read=read)
        stopped = True
        waiting.cancel()

    async def test_receives_cancelled_on_the_reactor_lose_nothing_threads_send(self) -> None:
        layer, face = await self.both(capacity=ENOUGH)

        def send() -> None:
            for number in range(MANY):
                face.send("channel", {"number": number})

        sending = self.in_thread(send)
        got: list[int] = []
        while not sending.called:
            waiting = layer.receive(["channel"], 3)
            await self.in_thread(lambda: None)
            waiting.cancel()
            try:
                got += self.numbers(await waiting)
            except CancelledError:
                pass
        await sending
        got += self.numbers(await self.read(layer, "channel"))
        self.assertEqual(got, list(range(MANY)))

    async def _many(
        self, face: IBlockingChannelLayer, readers: int, read: list[int] | None = None
    ) -> None:
        """Three threads send, C{readers} read, until all has arrived somewhere."""
        read = [] if read is None else read
        total = 3 * MANY

        def send(first: int) -> None:
            for number in range(first, first + MANY):
                while True:
                    try:
                        face.send(("one", "two")[number % 2], {"number": number})
                        break
                    except ChannelFull:
                        # What the spec has a sender do; a reader takes it soon.
                        face.receive(["nobody"], block=True, timeout=0.01)

        def receive() -> None:
            while len(read) < total:
                _, message = face.receive(["one", "two"], block=True, timeout=0.1)
                if message is not None:
                    number = message["number"]
                    assert isinstance(number, int)
                    read.append(number)

        await gatherResults(
            [self.in_thread(send, first) for first in range(0, total, MANY)]
            + [self.in_thread(receive) for _ in range(readers)]
        )
        self.assertEqual(sorted(read), list(range(total)))
