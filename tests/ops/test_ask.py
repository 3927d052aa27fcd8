"""Tests for C{chanserv.ops.ask}."""

from __future__ import annotations

from twisted.internet.defer import fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chanserv.core.defaults import PROCESSES_GROUP
from chanserv.errors import LayerUnavailable
from chanserv.layers import MemoryChannelLayer
from chanserv.ops.ask import ANSWER_AFTER, MAX_ASKERS, REST, VERSION, Answers
from chanserv.ops.snapshot import Process, Snapshot
from chanserv.testing.fakes import FailingLayer, PlainLayer
from chanserv.worker.status import ConsumerTimes, WorkerState, WorkerStatus


class Slow(PlainLayer):
    """A layer whose clock ticks while it sends."""

    def __init__(self, original, clock):
        super().__init__(original)
        self.clock = clock

    def send(self, channel, message, receipt=None):
        self.clock.rightNow += 0.125
        return self.original.send(channel, message, receipt)


class AnswersTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.memory = MemoryChannelLayer()
        self.layer = FailingLayer(self.memory)
        self.process = Process(release="blue", layer="ipc:site")
        self.looks = 0
        self.process.workers = self.look
        self.consumers = {}
        self.answers = Answers(self.layer, self.clock, self.process)
        self.answers.start()

    def look(self):
        self.looks += 1
        return [WorkerStatus(1, 100, WorkerState.RUNNING, consumers=self.consumers)]

    def ask(self, reply_channel="asker!in", **changes):
        question = {"ask": "status", "version": VERSION, "id": 7, "reply_channel": reply_channel}
        self.successResultOf(self.memory.send_group(PROCESSES_GROUP, {**question, **changes}))
        self.clock.advance(REST)

    def answered(self, mailbox="asker!"):
        """All that has come for an asker."""
        receiving = self.memory.receive([mailbox], 1000)
        receiving.addErrback(lambda _: [])
        if not receiving.called:
            receiving.cancel()
        return [delivery.message for delivery in self.successResultOf(receiving)]

    def test_who_asks_gets_the_status_and_the_mark_on_the_question(self):
        self.ask()
        (answer,) = self.answered()
        self.assertEqual(
            (answer["answer"], answer["version"], answer["id"]), ("status", VERSION, 7)
        )
        self.assertEqual(answer["from"], self.answers.roll.channel)
        found = Snapshot.from_dict(answer["status"])
        self.assertEqual((found.release, found.layer), ("blue", "ipc:site"))
        self.assertEqual(found.workers[0].pid, 100)

    def test_nothing_is_looked_at_while_nobody_asks(self):
        self.clock.pump([1.0] * 100)
        self.assertEqual(self.looks, 0)

    def test_every_process_on_the_roll_answers(self):
        other = Answers(self.layer, self.clock, Process(release="green"))
        other.start()
        self.ask()
        releases = {answer["status"]["release"] for answer in self.answered()}
        self.assertEqual(releases, {"blue", "green"})

    def test_who_has_stopped_does_not_answer(self):
        self.successResultOf(self.answers.stop())
        self.ask()
        self.assertEqual(self.answered(), [])

    def test_one_who_asks_each_second_is_always_answered(self):
        for number in range(10):
            self.ask(id=number)
            self.clock.advance(1.0 - REST)
        self.assertEqual([answer["id"] for answer in self.answered()], list(range(10)))

    def test_one_who_asks_too_often_gets_fewer_answers(self):
        for _ in range(50):
            self.ask()
        # Fifty questions in two and a half seconds.
        self.assertLessEqual(len(self.answered()), 50 * REST / ANSWER_AFTER + 1)
        self.assertLessEqual(self.looks, 50 * REST / ANSWER_AFTER + 1)

    def test_one_with_many_channels_is_one(self):
        for number in range(5):
            self.ask(f"asker!{number}")
        self.assertEqual(len(self.answered()), 1)

    def test_others_are_answered_while_one_asks_too_often(self):
        for _ in range(3):
            self.ask()
        self.ask("other!in")
        self.assertEqual(len(self.answered("other!")), 1)

    def test_those_who_ask_together_are_told_the_same_of_one_look(self):
        self.ask("one!in")
        self.ask("other!in")
        self.assertEqual(self.looks, 1)
        self.assertEqual(len(self.answered("one!") + self.answered("other!")), 2)

    def test_a_crowd_of_askers_gets_so_many_answers_and_no_more(self):
        for number in range(2 * MAX_ASKERS):
            question = {"ask": "status", "version": VERSION, "reply_channel": f"a{number}!in"}
            self.memory.send_group(PROCESSES_GROUP, question)
        self.clock.advance(REST)
        got = sum(len(self.answered(f"a{number}!")) for number in range(2 * MAX_ASKERS))
        self.assertEqual(got, MAX_ASKERS)
        self.assertEqual(self.looks, 1)
        self.clock.advance(ANSWER_AFTER)
        self.ask("late!in")
        self.assertEqual(len(self.answered("late!")), 1)

    def test_what_makes_no_sense_is_left_without_an_answer(self):
        for changes in (
            {"ask": "password"},
            {"version": VERSION + 1},
            {"reply_channel": None},
            {"reply_channel": 7},
            # Not into a channel of the site.
            {"reply_channel": "http.request"},
            {"reply_channel": "http.request.body?1"},
        ):
            self.ask(**changes)
            self.clock.advance(ANSWER_AFTER)
        self.assertEqual(self.looks, 0)
        pending = self.successResultOf(self.memory.global_statistics())["messages_pending"]
        self.assertEqual(pending, 0)

    def test_a_channel_that_is_none_costs_nothing_but_its_answer(self):
        self.ask("what is this!in")
        self.clock.advance(ANSWER_AFTER)
        self.ask()
        self.assertEqual(len(self.answered()), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_mark_that_is_too_long_does_not_come_back(self):
        self.ask(id="x" * 101)
        self.assertNotIn("id", self.answered()[0])

    def test_what_would_be_too_large_is_told_without_consumers(self):
        self.memory = MemoryChannelLayer(max_message_size=20_000)
        self.answers = Answers(self.memory, self.clock, self.process)
        self.answers.start()
        self.consumers = {f"site.consumer_{number}": ConsumerTimes(1) for number in range(300)}
        self.ask()
        (answer,) = self.answered()
        found = Snapshot.from_dict(answer["status"])
        self.assertEqual(found.workers[0].consumers[""].runs, 300)

    def test_an_answer_that_cannot_be_sent_is_dropped_in_silence(self):
        self.memory.send_group(
            PROCESSES_GROUP, {"ask": "status", "version": VERSION, "reply_channel": "a!b"}
        )
        self.layer.failure = LayerUnavailable("it is away")
        self.clock.advance(REST)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_bug_in_sending_is_logged(self):
        class Broken(PlainLayer):
            def send(self, channel, message, receipt=None):
                return fail(ZeroDivisionError())

        answers = Answers(Broken(self.memory), self.clock, self.process)
        answers.start()
        self.ask()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_how_long_an_answer_took_is_told_with_the_next(self):
        slow = Answers(Slow(self.memory, self.clock), self.clock, self.process)
        self.successResultOf(self.answers.stop())
        slow.start()
        self.ask()
        self.clock.advance(1.0)
        self.ask()
        trips = [answer["status"]["round_trip"] for answer in self.answered()]
        self.assertEqual(trips, [None, 0.125])
