"""Tests for C{chanserv.worker.record}: what a team knows of its runs."""

from __future__ import annotations

import os
import threading

from twisted.trial.unittest import SynchronousTestCase

from chanserv.errors import ConsumeLater
from chanserv.messages import Delivery, seal
from chanserv.worker.counters import TeamCounters
from chanserv.worker.record import Record
from chanserv.worker.runs import Ending, Run
from chanserv.worker.status import BUCKETS, MAX_CONSUMERS, OTHER, WorkerState, WorkerStatus
from tests.worker.fakes import PATIENCE
from tests.worker.test_team import TeamTestCase


def run_of(name: str, took: float = 0.0, ending: Ending = Ending.DONE) -> Run:
    run = Run(Delivery(("a",), seal({})))
    run.outbox.consumer = name
    run.began, run.took, run.ending = 0.0, took, ending
    return run


def status_of(record: Record, *taken: Run, threads: int = 2, now: float = 0.0) -> WorkerStatus:
    return record.status(WorkerState.RUNNING, threads, taken, TeamCounters(), now)


class Recording(SynchronousTestCase):
    def test_each_consumer_has_its_own_runs_failures_and_times(self):
        record = Record()
        for run in (
            run_of("site.a", 0.004),
            run_of("site.a", 70.0, Ending.FAULT),
            run_of("site.b", 0.005, Ending.LATER),
        ):
            record.add(run)
        a, b = (status_of(record).consumers[name] for name in ("site.a", "site.b"))
        self.assertEqual((a.runs, a.failures, a.seconds), (2, 1, 70.004))
        self.assertEqual(a.buckets, [1, *[0] * (len(BUCKETS) - 1), 1])
        self.assertEqual((b.runs, b.failures, b.buckets[0]), (1, 0, 1))

    def test_a_run_whose_exception_was_answered_by_somebody_has_failed_too(self):
        record = Record()
        run = run_of("site.view")
        run.outbox.failed = True
        record.add(run)
        self.assertEqual(status_of(record).consumers["site.view"].failures, 1)

    def test_a_message_that_was_not_begun_is_no_run(self):
        record = Record()
        record.add(run_of("", ending=Ending.EXPIRED))
        self.assertEqual(status_of(record).consumers, {})

    def test_consumers_without_end_count_together(self):
        record = Record()
        for number in range(MAX_CONSUMERS + 5):
            record.add(run_of(f"made.up.{number}"))
        record.add(run_of("made.up.0"))
        consumers = status_of(record).consumers
        self.assertEqual(len(consumers), MAX_CONSUMERS + 1)
        self.assertEqual((consumers[OTHER].runs, consumers["made.up.0"].runs), (5, 2))

    def test_a_clock_that_was_set_back_makes_no_negative_time(self):
        record = Record()
        record.add(run_of("site.a", -3600.0))
        ahead = run_of("site.b", ending=None)
        ahead.began = 50.0
        status = status_of(record, ahead, now=1.0)
        self.assertEqual((status.consumers["site.a"].seconds, status.oldest_run), (0.0, 0.0))

    def test_a_status_does_not_change_with_what_comes_later(self):
        record = Record()
        record.add(run_of("site.a"))
        status = status_of(record)
        record.add(run_of("site.a"))
        self.assertEqual(status.consumers["site.a"].runs, 1)
        self.assertEqual(sum(status.consumers["site.a"].buckets), 1)

    def test_it_is_blocked_for_as_long_as_its_youngest_run_once_no_thread_is_free(self):
        record = Record()
        old, young = run_of("site.a", ending=None), run_of("site.b", ending=None)
        young.began = 40.0
        one = status_of(record, old, now=60.0)
        both = status_of(record, old, young, now=60.0)
        self.assertEqual((one.busy, one.oldest_run, one.blocked), (1, 60.0, 0.0))
        self.assertEqual((both.busy, both.oldest_run, both.blocked), (2, 60.0, 20.0))


class OfATeam(TeamTestCase):
    def test_a_team_tells_what_runs_now_and_what_has_run(self):
        begun, go_on = threading.Semaphore(0), threading.Semaphore(0)

        def consumer(channel, message, outbox):
            outbox.consumer = "site.slow"
            begun.release()
            go_on.acquire(timeout=PATIENCE)

        team = self.team(consumer, threads=2)
        self.reactor.advance(5)
        self.layer.give("http.request")
        self.assertTrue(begun.acquire(timeout=PATIENCE))
        self.reactor.advance(3)
        now = team.status(slot=4, release="v2")
        self.assertEqual((now.slot, now.release, now.pid, now.threads), (4, "v2", os.getpid(), 2))
        self.assertEqual((now.state, now.busy, now.oldest_run), (WorkerState.RUNNING, 1, 3.0))
        self.assertEqual(now.consumers, {})
        go_on.release()
        self.turn_until(lambda: team.counters.runs)
        later = team.status()
        self.assertEqual((later.busy, later.oldest_run, later.counters["runs"]), (0, 0.0, 1))
        self.assertEqual(later.consumers["site.slow"].seconds, 3.0)
        self.assertEqual(WorkerStatus.from_dict(later.as_dict()), later)

    def test_failures_and_what_was_put_off_are_told_apart(self):
        def consumer(channel, message, outbox):
            raise {"later": ConsumeLater, "fault": ValueError}[message["how"]]

        team = self.team(consumer)
        self.layer.give("http.request", how="fault")
        self.layer.give("http.request", how="later")
        self.turn_until(lambda: team.counters.runs == 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        times = team.status().consumers["site.consumers.only"]
        self.assertEqual((times.runs, times.failures), (2, 1))

    def test_its_state_is_that_of_the_service(self):
        go_on = threading.Semaphore(0)
        team = self.team(lambda *_: go_on.acquire(timeout=PATIENCE))
        self.layer.give("http.request")
        self.assertIs(team.status().state, WorkerState.RUNNING)
        stopped = team.stopService()
        self.assertIs(team.status().state, WorkerState.DRAINING)
        go_on.release()
        self.turn_until(lambda: stopped.called)
        self.assertIs(team.status().state, WorkerState.LOADED)
