"""A team on a real memory layer, with real threads: what the parts promise together."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chanserv.errors import ConsumeLater
from chanserv.layers import MemoryChannelLayer
from chanserv.layers.blocking import face_of
from chanserv.worker.team import ThreadTeam
from tests.worker.fakes import PATIENCE, FakeApplication, TurningReactor

MAILBOX = "server!"


class TogetherWithTheMemoryLayer(SynchronousTestCase):
    def setUp(self):
        self.reactor = TurningReactor()
        self.received: list[tuple[str, dict[str, object]]] = []

    def start(self, consumer, threads=2, alone=True, **config):
        self.layer = MemoryChannelLayer.for_reactor(self.reactor, **config)
        self.face = face_of(self.layer, self.reactor)
        application = FakeApplication(consumer, ("http.request", "websocket.receive", "other"))
        self.team = ThreadTeam(self.layer, application, self.reactor, threads, alone=alone)
        self.team.startService()
        self.addCleanup(self.stop)
        return self.team

    def stop(self):
        fired = []
        self.team.stopService().addCallback(fired.append)
        self.reactor.turn_until(lambda: fired)

    def listen(self):
        """Take what comes for the mailbox, as an interface server does."""

        def take(deliveries):
            for delivery in deliveries:
                self.received += [(one, dict(delivery.message)) for one in delivery.recipients]
                delivery.settle()
            self.listen()

        self.layer.receive([MAILBOX], 100).addCallback(take)

    def pass_time_until(self, condition):
        """Let time pass whenever no thread is at work."""
        while not condition():
            if self.team.busy or not self.reactor.asked.empty():
                self.reactor.asked.get(timeout=PATIENCE)()
            else:
                self.reactor.advance(0.05)

    def test_a_reply_comes_before_the_receipt_of_what_it_answers(self):
        self.start(lambda channel, message, outbox: outbox.send("server!1", {"status": 200}))
        self.listen()
        self.successResultOf(self.layer.send("http.request", {}, receipt="server!1"))
        self.reactor.turn_until(lambda: len(self.received) == 2)
        self.assertEqual(
            self.received,
            [("server!1", {"status": 200}), ("server!1", {"receipt": "settled"})],
        )

    def test_many_messages_are_all_answered_once(self):
        def consumer(channel, message, outbox):
            outbox.send(message["reply_channel"], {"number": message["number"]})

        for threads, alone in ((1, True), (4, True), (1, False), (4, False)):
            self.received.clear()
            self.start(consumer, threads, alone, capacity=1000)
            self.listen()
            for number in range(300):
                self.layer.send(
                    "http.request", {"number": number, "reply_channel": f"server!{number}"}
                )
            self.reactor.turn_until(lambda: len(self.received) == 300)
            self.assertEqual(
                sorted(message["number"] for _, message in self.received), list(range(300))
            )
            self.stop()

    def test_a_message_put_off_gives_its_receipt_once_and_when_it_is_done(self):
        tries = []

        def consumer(channel, message, outbox):
            tries.append(message.get("__retries__", 0))
            if len(tries) < 4:
                raise ConsumeLater
            outbox.send("server!1", {"text": "done"})

        self.start(consumer)
        self.listen()
        self.layer.send("websocket.receive", {"text": "x"}, receipt="server!1")
        self.pass_time_until(lambda: len(self.received) == 2)
        self.assertEqual(tries, [0, 1, 2, 3])
        self.assertEqual(
            self.received,
            [("server!1", {"text": "done"}), ("server!1", {"receipt": "settled"})],
        )

    def test_the_sender_of_a_message_put_off_for_ever_hears_of_it(self):
        def consumer(channel, message, outbox):
            raise ConsumeLater

        self.start(consumer)
        self.listen()
        self.layer.send("websocket.receive", {"text": "x"}, receipt="server!1")
        self.pass_time_until(lambda: self.received)
        self.assertEqual(self.received, [("server!1", {"receipt": "expired"})])

    def test_replies_to_a_full_mailbox_arrive_in_order_once_there_is_room(self):
        def consumer(channel, message, outbox):
            outbox.send("server!1", {"number": message["number"]})

        team = self.start(consumer, threads=1, mailbox_capacity=2)
        for number in range(5):
            self.layer.send("other", {"number": number})
        self.reactor.turn_until(lambda: team.counters.runs == 5)
        self.assertEqual(team.counters.sends_dropped, 0)
        self.listen()
        self.pass_time_until(lambda: len(self.received) == 5)
        self.assertEqual([message["number"] for _, message in self.received], [0, 1, 2, 3, 4])
        self.assertGreater(team.counters.resends, 0)

    def test_a_consumer_uses_the_layer_at_once_from_its_thread(self):
        def consumer(channel, message, outbox):
            self.face.group_add("room", "server!1")
            self.face.group_add("room", "server!2")
            outbox.send_group("room", {"text": "hello"})

        self.start(consumer)
        self.listen()
        self.layer.send("websocket.receive", {})
        self.reactor.turn_until(lambda: len(self.received) == 2)
        self.assertEqual(
            sorted(self.received),
            [("server!1", {"text": "hello"}), ("server!2", {"text": "hello"})],
        )
