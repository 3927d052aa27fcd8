"""Tests for C{chanserv.ops.stuck}: threads of which none comes back."""

from __future__ import annotations

import threading

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from chanserv.ops.stuck import LOOK_EVERY, StuckWatch
from chanserv.worker.status import WorkerState, WorkerStatus
from chanserv.worker.threads import start_daemon_thread
from tests.worker.fakes import PATIENCE


class Watching(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.state = WorkerState.RUNNING
        self.watch = StuckWatch(self.look, self.clock.callLater)
        self.watch.startService()

    def look(self) -> WorkerStatus:
        return WorkerStatus(0, 7, self.state, "v1", threads=2, blocked=61.0)

    def seen(self) -> list[dict[str, object]]:
        with capturedLogs() as events:
            self.clock.advance(LOOK_EVERY)
        return events

    def test_it_says_once_that_no_thread_is_free_and_once_that_one_is_again(self):
        self.assertEqual(self.seen(), [])
        self.state = WorkerState.STUCK
        (event,) = self.seen()
        self.assertEqual((event["log_level"], event["release"]), (LogLevel.error, "v1"))
        self.assertIn("No thread has been free for 61 s", formatEvent(event))
        self.assertEqual(self.seen(), [])
        self.state = WorkerState.RUNNING
        (event,) = self.seen()
        self.assertIn("free again", formatEvent(event))
        self.assertEqual(self.seen(), [])

    def test_it_shows_what_the_threads_do(self):
        go_on, begun = threading.Event(), threading.Event()

        def wait_for_the_teapot() -> None:
            begun.set()
            go_on.wait(PATIENCE)

        thread = start_daemon_thread(wait_for_the_teapot, "chanserv-9")
        self.assertTrue(begun.wait(PATIENCE))
        self.state = WorkerState.STUCK
        (event,) = self.seen()
        go_on.set()
        thread.join(PATIENCE)
        self.assertIn("chanserv-9:\n", formatEvent(event))
        self.assertIn("wait_for_the_teapot", formatEvent(event))

    def test_stopped_it_looks_no_more(self):
        self.watch.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
