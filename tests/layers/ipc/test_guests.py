"""Host and guests over real sockets: how they find, lose and follow each other."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from chanserv.errors import ConfigurationError, LayerUnavailable
from chanserv.layers.ipc import IPCChannelLayer, wire
from chanserv.layers.ipc.frames import FrameReader, framed
from chanserv.layers.ipc.hub import LOAD_INTERVAL
from chanserv.layers.ipc.seat import DEFERENCE, State
from chanserv.messages import GroupSend, Send
from tests.layers.ipc.rig import make_directory, make_ipc_layer, vanish

PATIENCE = 60.0
"""Seconds of real time for what must come."""


class Case(TestCase):
    timeout = 2 * PATIENCE

    def setUp(self) -> None:
        self.directory = make_directory(self)
        self.logged: list[Any] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def make(self, **config: Any) -> IPCChannelLayer:
        layer: IPCChannelLayer = make_ipc_layer(
            **{"directory": self.directory, "patience": PATIENCE, **config}
        )
        self.addCleanup(layer.close)
        return layer

    async def host_and_guests(self, count: int, **config: Any) -> list[IPCChannelLayer]:
        """The first of them is the host."""
        layers = [self.make(**config) for _ in range(count + 1)]
        for layer in layers:
            await layer.global_statistics()
        self.assertEqual(
            [layer._seat.state for layer in layers], [State.HOST] + [State.GUEST] * count
        )
        return layers

    async def until(self, condition: Callable[[], object]) -> None:
        from twisted.internet import reactor

        deadline = reactor.seconds() + PATIENCE
        while not condition():
            self.assertLess(reactor.seconds(), deadline, "it has not come true")
            await deferLater(reactor, 0.005, lambda: None)

    async def kill(self, host: IPCChannelLayer, *others: IPCChannelLayer) -> None:
        """End the host, and wait until the others have the next."""
        former = [other._desk.link for other in others]
        await vanish(host)
        await self.until(
            lambda: all(
                other._desk.link not in (None, link)
                for other, link in zip(others, former, strict=True)
            )
        )

    def said(self, text: str, level: str = "warn") -> list[str]:
        """The lines of the log that hold C{text}."""
        lines = []
        for event in list(self.logged):
            if event.get("log_level") is not None and event["log_level"].name == level:
                line = event["log_format"].format_map(
                    {key.removesuffix("!s"): value for key, value in event.items()}
                )
                if text in line:
                    lines.append(line)
        return lines

    def refused(self, deferred: Deferred[Any], says: str) -> Deferred[Any]:
        def look(error: Exception) -> None:
            self.assertIn(says, str(error))

        return self.assertFailure(deferred, LayerUnavailable).addCallback(look)


class Beginning(Case):
    def test_nothing_is_opened_before_the_first_call(self) -> None:
        layer = self.make()
        self.assertEqual(os.listdir(self.directory), [])
        self.assertEqual(layer._seat.state, State.IDLE)

    async def test_a_layer_that_did_nothing_can_be_closed(self) -> None:
        await self.make().close()

    def test_a_reactor_is_needed(self) -> None:
        with self.assertRaisesRegex(ConfigurationError, "lives on a reactor"):
            IPCChannelLayer(None)

    async def test_the_socket_is_the_users_alone(self) -> None:
        await self.make(prefix="site").global_statistics()
        mode = (Path(self.directory) / "site.sock").stat().st_mode
        self.assertEqual(mode & 0o777, 0o600)

    async def test_a_lock_that_was_removed_is_noticed(self) -> None:
        host = self.make()
        await host.global_statistics()
        lock = Path(self.directory) / "chanserv.lock"
        os.utime(lock, (1, 1))
        host._seat.host._keeping.reset(0)
        await self.until(lambda: lock.stat().st_mtime > 1)
        self.assertEqual(self.said("has been removed", "error"), [])
        lock.unlink()
        host._seat.host._keeping.reset(0)
        await self.until(lambda: self.said("has been removed", "error"))

    async def test_layers_of_different_names_are_apart(self) -> None:
        one, other = self.make(prefix="one"), self.make(prefix="other")
        await one.send("channel", {"number": 1})
        self.assertEqual((await other.channel_statistics("channel"))["messages_pending"], 0)
        self.assertEqual([layer._seat.state for layer in (one, other)], [State.HOST] * 2)

    async def test_a_name_may_hold_any_character(self) -> None:
        one, other = (self.make(prefix="my/site: ü") for _ in range(2))
        await one.send("channel", {"number": 1})
        (delivery,) = await other.receive(["channel"])
        self.assertEqual(delivery.message, {"number": 1})

    async def test_the_files_of_a_host_that_is_gone_are_no_hindrance(self) -> None:
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(os.path.join(self.directory, "chanserv.sock"))
        stale.listen()
        stale.close()
        (Path(self.directory) / "chanserv.lock").write_text("1234")
        one, other = await self.host_and_guests(1)
        await other.send("channel", {"number": 1})
        self.assertEqual((await one.receive(["channel"]))[0].message, {"number": 1})

    async def test_a_directory_that_others_can_enter_is_said_and_mended(self) -> None:
        os.chmod(self.directory, 0o755)
        layer = self.make(patience=0.01)
        await self.refused(layer.send("channel", {}), "open to others (mode 755)")
        self.assertEqual(len(self.said("open to others (mode 755)")), 1)
        os.chmod(self.directory, 0o700)
        await self.until(lambda: layer._seat.state is State.HOST)
        await layer.send("channel", {})

    async def test_who_would_rather_be_a_guest_lets_another_be_the_host(self) -> None:
        guest, other = self.make(guest=True), self.make()
        sending = guest.send("channel", {"number": 1})
        self.assertEqual(guest._seat.state, State.SEEKING)
        self.assertEqual((await other.receive(["channel"]))[0].message, {"number": 1})
        await sending
        self.assertEqual(guest._seat.state, State.GUEST)

    async def test_who_would_rather_be_a_guest_is_the_host_where_nobody_else_is(self) -> None:
        guest = self.make(guest=True)
        await guest.send("channel", {"number": 1})
        self.assertEqual(guest._seat.state, State.HOST)

    async def test_who_never_is_the_host_waits_for_one(self) -> None:
        onlooker = self.make(patience=1.5 * DEFERENCE)
        onlooker.never_be_the_host()
        await self.refused(onlooker.send("channel", {}), "its host does not listen")
        self.assertEqual(onlooker._seat.state, State.SEEKING)
        other = self.make()
        await other.send("channel", {"number": 1})
        self.assertEqual((await onlooker.receive(["channel"]))[0].message, {"number": 1})

    async def test_layers_that_begin_at_once_have_one_host(self) -> None:
        layers = [self.make() for _ in range(8)]
        await gatherResults([layer.send("channel", {"n": 1}) for layer in layers])
        states = [layer._seat.state for layer in layers]
        self.assertEqual(states.count(State.HOST), 1)
        counts = await layers[3].channel_statistics("channel")
        self.assertEqual(counts["messages_pending"], 8)

    async def test_a_host_whose_options_differ_counts_and_the_guest_says_so(self) -> None:
        host = self.make(expiry=30, capacity=2, redeliver=["a.*"])
        await host.global_statistics()
        guest = self.make(max_message_size=10)
        await guest.send("channel", {"text": "more than ten bytes"})
        (line,) = self.said("other options")
        for part in ("expiry is 30.0 there and 60.0 here", "capacity is 2", "'a.*'"):
            self.assertIn(part, line)
        self.assertEqual(guest.expiry, 30.0)

    async def test_a_guest_with_the_same_options_says_nothing(self) -> None:
        await self.host_and_guests(2, channel_capacity={"a.*": 5})
        self.assertEqual(self.said(""), [])


class TheEndOfTheHost(Case):
    async def test_another_takes_its_place_and_receives_go_on(self) -> None:
        host, one, other = await self.host_and_guests(2)
        waiting = one.receive(["channel", "one!"])
        await self.kill(host, one, other)
        self.assertIn(State.HOST, (one._seat.state, other._seat.state))
        await other.send("channel", {"number": 1})
        self.assertEqual((await waiting)[0].message, {"number": 1})

    async def test_memberships_are_put_back_before_anyone_sends(self) -> None:
        host, one, other, sender = await self.host_and_guests(3)
        waiting = [one.receive(["one!"]), other.receive(["other!"])]
        for name in ("one!a", "one!b", "other!a"):
            await sender.group_add("group", name)
        await other.group_add("group", "one!gone")
        await other.group_discard("group", "one!gone")
        await vanish(host)
        # The first that a hub takes comes when everyone is back.
        await self.sent(sender)
        first, second = [deliveries[0] for deliveries in await gatherResults(waiting)]
        self.assertEqual(set(first.recipients), {"one!a", "one!b"})
        self.assertEqual(second.recipients, ("other!a",))

    async def sent(self, layer: IPCChannelLayer) -> None:
        """Send to the group, until a hub has taken it."""
        while True:
            try:
                await layer.send_group("group", {"number": 1})
            except LayerUnavailable:
                from twisted.internet import reactor

                await deferLater(reactor, 0.005, lambda: None)
                continue
            return

    async def test_hosts_may_end_one_after_the_other(self) -> None:
        layers = await self.host_and_guests(4)
        waiting = layers[-1].receive(["last!"])
        await layers[1].group_add("group", "last!x")
        alive = list(layers)
        while len(alive) > 2:
            (host,) = (one for one in alive if one._seat.state is State.HOST)
            if host is layers[-1]:
                break
            alive.remove(host)
            await self.kill(host, *alive)
        self.assertEqual(await alive[0].group_channels("group"), ["last!x"])
        await alive[0].send_group("group", {"number": 1})
        self.assertEqual((await waiting)[0].recipients, ("last!x",))

    async def test_what_was_under_way_fails_and_is_not_sent_again(self) -> None:
        host, one, _ = await self.host_and_guests(2)
        # The hub has done it by then, but its word has not come.
        sending = one.send("channel", {"number": 1})
        await vanish(host)
        await self.refused(sending, "may have been done or not")
        self.assertEqual((await one.channel_statistics("channel"))["messages_count"], 0)

    async def test_receipts_that_had_not_come_say_lost_and_are_counted(self) -> None:
        host, one, _ = await self.host_and_guests(2)
        waiting = one.receive(["one!"], 10)
        await one.send("channel", {}, "one!a")
        await one.send_batch([Send("channel", {}, "one!b"), GroupSend("group", {})])
        await vanish(host)
        got = []
        while len(got) < 2:
            got += [(each.channel, dict(each.message)) for each in await waiting]
            waiting = one.receive(["one!"], 10)
        waiting.addErrback(lambda failure: failure.trap(LayerUnavailable))
        self.assertEqual(got, [("one!a", {"receipt": "lost"}), ("one!b", {"receipt": "lost"})])
        self.assertEqual((await one.global_statistics())["messages_lost_count"], 2)
        (line,) = self.said("2 messages whose receipts had not come are lost")
        self.assertIn("IPC layer chanserv", line)

    async def test_what_waited_without_a_receipt_is_counted_as_far_as_is_known(self) -> None:
        clock = Clock()
        host, one, other = await self.host_and_guests(2, clock=clock)
        await one.send_batch([Send("channel", {}) for _ in range(5)] + [Send("x", {}, "one!x")])
        clock.advance(LOAD_INTERVAL)
        await self.until(lambda: (one._desk.link._load, other._desk.link._load) == (6, 6))
        await self.kill(host, one, other)
        self.assertEqual((await one.global_statistics())["messages_lost_count"], 6)
        self.assertEqual(len(self.said("6 messages when it last said so")), 2)

    async def test_receipts_that_came_are_not_given_again(self) -> None:
        host, one, other = await self.host_and_guests(2)
        await one.send("channel", {}, "one!a")
        (delivery,) = await other.receive(["channel"])
        waiting = one.receive(["one!"], 10)
        delivery.settle()
        self.assertEqual((await waiting)[0].message, {"receipt": "settled"})
        await self.kill(host, one, other)
        self.assertEqual((await one.channel_statistics("one!"))["messages_pending"], 0)
        self.assertEqual((await one.global_statistics())["messages_lost_count"], 0)

    async def test_a_settle_that_comes_too_late_concerns_nothing_at_the_next_hub(self) -> None:
        host, one, other = await self.host_and_guests(2)
        await one.send("channel", {"number": 1}, "one!a")
        (old,) = await other.receive(["channel"])
        await self.kill(host, one, other)
        await one.send("channel", {"number": 2}, "one!b")
        (new,) = await other.receive(["channel"])
        (lost,) = await one.receive(["one!"], 10)
        self.assertEqual((lost.channel, lost.message), ("one!a", {"receipt": "lost"}))
        old.settle()
        await other.send_batch([], [old])
        self.assertEqual((await one.channel_statistics("one!"))["messages_pending"], 0)
        new.settle()
        (settled,) = await one.receive(["one!"], 10)
        self.assertEqual((settled.channel, settled.message), ("one!b", {"receipt": "settled"}))

    async def test_calls_wait_for_the_next_host_for_a_while_and_no_longer(self) -> None:
        host, one = await self.host_and_guests(1)
        one._desk._patience = 0.2
        # Nobody can be the host now: this holds the lock, and does not listen.
        await vanish(host)
        lock = one._seat._place.try_lock()
        assert lock is not None
        self.addCleanup(lock.release)
        await self.until(lambda: one._desk.link is None)
        await self.refused(one.send("channel", {}), "has not been reached in 0.2 s: its host")
        waiting = one.receive(["channel"])
        lock.release()
        await self.until(lambda: one._seat.state is State.HOST)
        await one.send("channel", {"number": 1})
        self.assertEqual((await waiting)[0].message, {"number": 1})


class TheEndOfTheHostInOrder(Case):
    async def test_calls_that_were_not_done_are_done_by_the_next(self) -> None:
        host, one, other = await self.host_and_guests(2)
        await one.send("gone", {})
        closing = host.close()
        # The host does nothing more, and says so.
        sending = [one.send("channel", {"number": n}) for n in range(3)]
        batch = one.send_batch([Send("channel", {"number": 3}, "one!x")])
        await gatherResults(sending)
        self.assertEqual(await batch, [None])
        got = await other.receive(["channel"], 10)
        self.assertEqual([each.message["number"] for each in got], [0, 1, 2, 3])
        await closing
        got[3].settle()
        (receipt,) = await one.receive(["one!"])
        self.assertEqual(receipt.message, {"receipt": "settled"})

    async def test_what_waited_is_counted_by_the_next_host(self) -> None:
        host, one, _ = await self.host_and_guests(2)
        await one.send("channel", {})
        await one.send("channel", {}, "one!x")
        await one.send("leased", {}, "one!x")
        await one.receive(["leased"])
        await host.close()
        self.assertEqual((await one.global_statistics())["messages_lost_count"], 3)
        got = await one.receive(["one!"], 10)
        self.assertEqual([dict(each.message) for each in got], [{"receipt": "lost"}] * 2)
        self.assertEqual(len(self.said("3 messages that wait or are not settled are lost")), 1)

    async def test_what_the_host_had_taken_is_lost_at_once(self) -> None:
        host, one = await self.host_and_guests(1)
        waiting = one.receive(["one!"])
        await one.send("channel", {}, "one!x")
        await host.receive(["channel"])
        await host.close()
        self.assertEqual((await waiting)[0].message, {"receipt": "lost"})

    async def test_the_last_to_leave_leaves_no_socket(self) -> None:
        host, one = await self.host_and_guests(1)
        await one.close()
        await host.close()
        self.assertEqual(os.listdir(self.directory), ["chanserv.lock"])

    async def test_a_guest_that_does_not_read_its_farewell_is_not_waited_for(self) -> None:
        host, _ = await self.host_and_guests(1)
        stopped = socket.socket(socket.AF_UNIX)
        self.addCleanup(stopped.close)
        stopped.connect(os.path.join(self.directory, "chanserv.sock"))
        await self.until(lambda: len(host._seat.host.connections) == 2)
        await host.close()


class Receiving(Case):
    async def test_messages_of_cancelled_receives_come_in_their_order(self) -> None:
        _, reader, sender = await self.host_and_guests(2)
        got: list[int] = []
        for number in range(0, 200, 2):
            first, second = reader.receive(["channel"], 5), reader.receive(["channel"], 5)
            await sender.send("channel", {"number": number})
            await sender.send("channel", {"number": number + 1})
            for waiting in (first, second):
                if not waiting.called:
                    waiting.cancel()
                try:
                    got += [each.message["number"] for each in await waiting]
                except CancelledError:
                    pass
        while len(got) < 200:
            got += [each.message["number"] for each in await reader.receive(["channel"], 50)]
        self.assertEqual(got, list(range(200)))

    async def test_what_comes_for_a_cancelled_receive_goes_to_other_processes(self) -> None:
        _, one, other = await self.host_and_guests(2)
        for number in range(20):
            waiting = one.receive(["channel"])
            sending = other.send("channel", {"number": number})
            await one.global_statistics()
            if not waiting.called:
                waiting.cancel()
            waiting.addErrback(lambda failure: failure.trap(CancelledError) and [])
            await sending
            got = await waiting or await other.receive(["channel"])
            self.assertEqual(got[0].message, {"number": number})

    async def test_a_look_gives_what_is_there_or_nothing(self) -> None:
        for layer in await self.host_and_guests(1):
            self.assertEqual(await layer.receive_now(["channel", "box!"]), [])
            await layer.send("channel", {"number": 1})
            (delivery,) = await layer.receive_now(["channel"], 5)
            self.assertEqual(delivery.message, {"number": 1})
            await layer.send("channel", {"number": 2})
            (delivery,) = await layer.receive(["channel"])
            self.assertEqual(delivery.message, {"number": 2})

    async def test_thousands_of_group_messages_for_members_that_left_are_no_burden(self) -> None:
        for layer in await self.host_and_guests(1):
            waiting = layer.receive(["box!"])
            for _ in range(3):
                await layer.group_add("group", "box!x")
                for _ in range(40):
                    await layer.send_batch([GroupSend("group", {})] * 50)
                    if waiting.called:
                        await waiting
                        waiting = layer.receive(["box!"], 2_000)
                await layer.send_batch([])
                await layer.group_discard("group", "box!x")
            await layer.flush()
            if waiting.called:
                await waiting
                waiting = layer.receive(["box!"])
            await layer.send("box!y", {"number": 1})
            while not (got := await waiting)[-1].message:
                waiting = layer.receive(["box!"])
            self.assertEqual(got[-1].message, {"number": 1})

    async def test_messages_of_a_megabyte_and_more_pass(self) -> None:
        _, one, other = await self.host_and_guests(2)
        big = b"x" * 4_000_000
        receiving = one.receive(["channel"], 10)
        await other.send("channel", {"body": big})
        await other.send_batch([Send("channel", {"body": big[:1_500_000]}) for _ in range(5)])
        sizes = [len(each.message["body"]) for each in await receiving]
        while len(sizes) < 6:
            sizes += [len(each.message["body"]) for each in await one.receive(["channel"], 10)]
        self.assertEqual(sizes, [4_000_000] + [1_500_000] * 5)


class Fake(Protocol):
    """A host of a test's own."""

    answer: bytes = b""

    def connectionMade(self) -> None:
        self.factory.connections.append(self)
        self.frames = FrameReader()

    def dataReceived(self, data: bytes) -> None:
        for _ in self.frames.feed(data):
            answer, self.factory.answers = self.factory.answers[:1], self.factory.answers[1:]
            for one in answer:
                self.transport.write(one)


class StrangeHosts(Case):
    def listen(self, *answers: bytes, patience: float = PATIENCE) -> Any:
        """Answer the first frames with these bytes, and later ones not at all."""
        from twisted.internet import reactor

        factory = Factory.forProtocol(Fake)
        factory.answers = list(answers)
        factory.connections = []
        layer = self.make(patience=patience, answer_timeout=0.3)
        lock = layer._seat._place.try_lock()
        assert lock is not None
        self.addCleanup(lock.release)
        port = reactor.listenUNIX(os.path.join(self.directory, "chanserv.sock"), factory)
        self.addCleanup(port.stopListening)
        return layer, factory

    def welcome(self) -> bytes:
        options = self.make()._options.written()
        return framed(wire.greeting(wire.Greeting(4711, options, 0.0)))

    async def test_a_hub_that_does_not_answer_fails_calls_in_time(self) -> None:
        layer, _ = self.listen(self.welcome())
        await self.refused(layer.send("channel", {}), "process 4711, which hosts")
        await self.refused(layer.send("channel", {}), "has not answered in 0.3 s")
        self.assertEqual(len(self.said("has not answered in 0.3 s")), 1)

    async def test_a_hub_that_answers_late_is_used_again(self) -> None:
        layer, factory = self.listen(self.welcome())
        await self.refused(layer.send("channel", {}), "has not answered")
        factory.connections[0].transport.write(framed(wire.packed([(wire.RESULTS, 1, [])])))
        factory.answers = [framed(wire.packed([(wire.RESULTS, 1, [])]))]
        await self.until(lambda: not layer._desk.link._is_stalled)
        self.assertEqual(len(self.said("answers again", "info")), 1)
        await layer.send("channel", {})

    async def test_a_hub_that_stays_silent_is_told_of_once(self) -> None:
        from twisted.internet import reactor

        layer, _ = self.listen(self.welcome())
        await self.refused(layer.send("channel", {}), "has not answered in 0.3 s")
        # Time enough for it to be found silent twice more.
        await deferLater(reactor, 2.0)
        await self.refused(layer.send("channel", {}), "kill it and another takes its place")
        self.assertEqual(len(self.said("has not answered in 0.3 s")), 1)

    async def refusing(self, answer: bytes, says: str) -> None:
        """A hub that gives this answer to a greeting is quoted to who sends."""
        layer, _ = self.listen(answer, patience=0.1)
        layer.receive(["channel"]).addErrback(lambda failure: failure.trap(LayerUnavailable))
        await self.until(lambda: self.said(says))
        await self.refused(layer.send("channel", {}), says)

    async def test_a_hub_of_another_version_is_said_to_be_one(self) -> None:
        theirs = framed(wire.packed([wire.PROTOCOL, 99, wire.HELLO, 1, {}, 0.0]))
        await self.refusing(theirs, "version 99")
        self.assertEqual(len(self.said("run one version of chanserv on all")), 1)

    async def test_a_hub_that_refuses_is_quoted(self) -> None:
        await self.refusing(framed(wire.refusal("you are too old")), "you are too old")

    async def test_noise_costs_the_connection_and_no_more(self) -> None:
        layer, factory = self.listen(self.welcome(), b"\xff\xff\xff\xff noise", self.welcome())
        await self.refused(layer.send("channel", {}), "is gone")
        # What is put back, and what waited for it.
        factory.answers += [framed(wire.packed([(wire.RESULTS, 2, [])]))]
        await layer.send("channel", {})
        self.assertEqual(len(factory.connections), 2)

    async def test_results_that_nobody_asked_for_are_noise(self) -> None:
        layer, _ = self.listen(
            self.welcome(), framed(wire.packed([(wire.RESULTS, 5, [])])), self.welcome()
        )
        await self.refused(layer.send("channel", {}), "is gone")
        self.assertEqual(len(self.said("5 results, 1 are due")), 1)


class StrangeGuests(Case):
    async def greet(self, data: bytes) -> bytes:
        """What the host answers, until it hangs up."""
        from twisted.internet.threads import deferToThread

        host = self.make()
        await host.global_statistics()

        def talk() -> bytes:
            with socket.socket(socket.AF_UNIX) as guest:
                guest.settimeout(PATIENCE)
                guest.connect(os.path.join(self.directory, "chanserv.sock"))
                guest.sendall(data)
                got = b""
                while part := guest.recv(65536):
                    got += part
                return got

        answer: bytes = await deferToThread(talk)
        # And the hub serves others.
        await self.make().send("channel", {})
        return answer

    async def test_one_of_another_version_is_refused_in_words(self) -> None:
        theirs = framed(wire.packed([wire.PROTOCOL, 99, wire.HELLO, 1, {}, 0.0]))
        (payload,) = FrameReader().feed(await self.greet(theirs))
        with self.assertRaisesRegex(LayerUnavailable, "version 99"):
            wire.read_greeting(payload)

    async def test_one_that_speaks_something_else_is_cut_off(self) -> None:
        self.assertEqual(await self.greet(b"GET / HTTP/1.1\r\n\r\n"), b"")
        self.assertEqual(len(self.said("does not speak the IPC layer's protocol")), 1)

    async def test_one_that_asks_for_what_there_is_not_is_cut_off(self) -> None:
        hello = framed(wire.greeting(wire.Greeting(1, {}, 0.0)))
        await self.greet(hello + framed(wire.packed([(99, "x")])))
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)
