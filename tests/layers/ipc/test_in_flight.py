"""What is under way between host and guests when one of them ends, or a hub opens."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from chanserv.codec import Codec
from chanserv.errors import LayerUnavailable
from chanserv.layers.ipc import host as host_module
from chanserv.layers.ipc import hub as hub_module
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.frames import FrameReader, framed
from chanserv.layers.ipc.seat import State
from chanserv.layers.ipc.sending import Sending
from chanserv.messages import Send
from tests.layers.ipc.rig import vanish
from tests.layers.ipc.test_guests import PATIENCE, Case, Fake
from tests.layers.ipc.test_hub import Told, make_hub


class AHubThatOpens(Case):
    async def test_each_call_that_waited_gets_its_own_answer(self) -> None:
        host, one, other = await self.host_and_guests(2)
        for layer, mailbox in ((one, "one!"), (other, "other!")):
            layer.receive([mailbox]).addErrback(lambda failure: failure.trap(LayerUnavailable))
            await layer.group_add("group", f"{mailbox}x")
        await vanish(host)
        # Nobody is the next before this lets go.
        lock = one._seat._place.try_lock()
        assert lock is not None
        await self.until(lambda: one._desk.link is None and other._desk.link is None)
        calls = []
        for layer in (one, other):
            layer.receive(["channel"]).addErrback(lambda failure: failure.trap(LayerUnavailable))
            calls += [layer.group_channels("group"), layer.global_statistics()]
        lock.release()
        members, counts, members_too, counts_too = await gatherResults(calls)
        self.assertEqual(set(members), {"one!x", "other!x"})
        self.assertEqual(set(members_too), set(members))
        self.assertEqual(set(counts), set(counts_too))
        self.assertIn("messages_pending", counts)

    async def test_what_waits_for_it_fails_when_its_host_closes_first(self) -> None:
        self.patch(host_module, "OPENING_TIMEOUT", 10 * PATIENCE)
        host, one, other = await self.host_and_guests(2)
        for layer, mailbox in ((one, "one!"), (other, "other!")):
            layer.receive([mailbox]).addErrback(lambda failure: failure.trap(LayerUnavailable))
        await one.global_statistics()
        # What the other had is never put back.
        await self.until(lambda: one._desk.link._roster == 2)
        await vanish(other)
        await vanish(host)
        await self.until(lambda: one._seat.state is State.HOST)
        sending = one.send("channel", {})
        self.assertNoResult(sending)
        await one.close()
        await self.assertFailure(sending, LayerUnavailable)


class AConnectionThatEnds(Case):
    async def test_messages_of_a_cancelled_receive_outlive_it(self) -> None:
        from twisted.internet import reactor

        factory = Factory.forProtocol(Fake)
        layer = self.make()
        results = framed(wire.packed([(wire.RESULTS, 1, [])]))
        greeting = wire.greeting(wire.Greeting(4711, layer._options.written(), 0.0))
        factory.answers = [framed(greeting), results]
        factory.connections = []
        lock = layer._seat._place.try_lock()
        assert lock is not None
        path = os.path.join(self.directory, "chanserv.sock")
        port = reactor.listenUNIX(path, factory)
        self.addCleanup(port.stopListening)
        receiving = layer.receive(["channel"])
        await self.until(lambda: layer._desk.link is not None)
        receiving.cancel()
        await self.assertFailure(receiving, CancelledError)
        # It had been served already, and the host ends before it hears of that.
        item = wire.Item(reactor.seconds() + 60, ("channel",), Codec().encode({"number": 1}), 0)
        (connection,) = factory.connections
        connection.transport.write(framed(wire.packed([(wire.DELIVER, 1, 0.0, [item])])))
        connection.transport.loseConnection()
        await self.until(lambda: layer._desk.link is None)
        await port.stopListening()
        lock.release()
        self.assertEqual((await layer.receive(["channel"]))[0].message, {"number": 1})

    async def test_what_is_sent_as_a_call_fails_is_not_taken_for_lost(self) -> None:
        host, one, other = await self.host_and_guests(2)
        first = one.send("channel", {"number": 1}, "one!a")
        again = first.addErrback(lambda _: one.send("channel", {"number": 2}, "one!b"))
        await vanish(host)
        await again
        (delivery,) = await other.receive(["channel"])
        self.assertEqual(delivery.message, {"number": 2})
        delivery.settle()
        (receipt,) = await one.receive(["one!"], 10)
        self.assertEqual((receipt.channel, receipt.message), ("one!b", {"receipt": "settled"}))

    async def test_who_closes_gives_back_what_was_on_its_way(self) -> None:
        host, one = await self.host_and_guests(1)
        receiving = one.receive(["channel"])
        await one.global_statistics()
        await host.send("channel", {"number": 1}, "host!x")
        receiving.cancel()
        await self.assertFailure(receiving, CancelledError)
        await one.close()
        (delivery,) = await host.receive(["channel", "host!"])
        self.assertEqual((delivery.channel, delivery.message), ("channel", {"number": 1}))

    async def test_a_guest_that_reads_late_is_told_the_end_all_the_same(self) -> None:
        self.patch(host_module, "FAREWELL_TIMEOUT", PATIENCE)
        host = self.make()
        await host.send_batch([Send("channel", {"body": b"x" * 900_000}) for _ in range(3)])
        slow = socket.socket(socket.AF_UNIX)
        self.addCleanup(slow.close)
        slow.settimeout(PATIENCE)
        slow.connect(os.path.join(self.directory, "chanserv.sock"))
        asked = [(wire.RECEIVE, number, ["channel"], 1) for number in range(3)]
        slow.sendall(framed(wire.greeting(wire.Greeting(1, {}, 0.0))) + framed(wire.packed(asked)))
        connections = host._seat.host.connections
        await self.until(lambda: any(one.is_congested for one in connections))
        closing = host.close()
        said = [news for payload in await deferToThread(read_all, slow) for news in payload]
        await closing
        delivered = [news for news in said if news[0] == wire.DELIVER]
        self.assertEqual(said[-1], (wire.FAREWELL, 3 - len(delivered)))
        self.assertGreater(len(delivered), 0)


def read_all(connection: socket.socket) -> list[Any]:
    """The frames that come, but for the greeting, until the other side hangs up."""
    frames, payloads = FrameReader(), []
    while data := connection.recv(65536):
        payloads += frames.feed(data)
    return [wire.unpacked(payload) for payload in payloads[1:]]


class ABatchInParts(SynchronousTestCase):
    def test_what_was_full_is_full_for_the_rest_of_it(self) -> None:
        told = Told(make_hub(Clock(), capacity=1))
        sends = [(wire.SEND, name, 1, b"x", None) for name in ("a", "a", "box!1", "b")]
        (refused,) = told.do(wire.BATCH, sends, [], False)[1]
        self.assertEqual((refused[0], refused[1][:2]), (1, ("full", "a")))
        # A reader makes room meanwhile.
        told.receive(1, "a", "b")
        self.assertEqual(len(told.bodies()), 2)
        self.assertEqual(
            told.do(wire.BATCH, sends, [], True)[1], [(0, refused[1]), (1, refused[1])]
        )
        self.assertEqual([place for place, _ in told.do(wire.BATCH, sends, [], False)[1]], [1, 3])

    def test_its_parts_say_that_they_go_on(self) -> None:
        posted: list[Any] = []

        def post(operation: wire.Operation, weight: int) -> Deferred[None]:
            posted.append(operation)
            return succeed(None)

        sending = Sending(Codec(), post, lambda *_: None)
        body = {"body": b"x" * 200_000}
        self.successResultOf(sending.send_batch([Send("a", body)] * 5, [(7, 0)]))
        self.successResultOf(sending.send_batch([Send("a", body)], []))
        self.assertEqual(
            [(len(sends), leases, goes_on) for _, sends, leases, goes_on in posted],
            [(2, [], False), (2, [], True), (1, [(7, 0)], True), (1, [], False)],
        )


class OneDelivery(SynchronousTestCase):
    def test_it_holds_one_message_more_than_there_is_room_for(self) -> None:
        self.patch(hub_module, "DELIVERY_BYTES", 1_000)
        told = Told(make_hub(Clock()))
        sent = [2_000, 2_000, 1, 2, 3, 2_001, 2_002, 2_003, 2_004, 4, 5, 6]
        for size in sent:
            told.send("channel", b"x" * size)
        got = []
        while sum(map(len, got)) < len(sent):
            told.receive(1, "channel")
            got.append(list(map(len, told.bodies())))
        self.assertEqual([size for sizes in got for size in sizes], sent)
        self.assertEqual(got[:4], [[2_000], [2_000], [1, 2, 3, 2_001], [2_002]])
        self.assertEqual(told.do(wire.TOTALS)[1]["messages_pending"], 0)
