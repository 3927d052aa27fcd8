"""Tests for C{chanserv.ops.lookout}: the pages of a process, over its layer."""

from __future__ import annotations

import sys
from unittest import mock

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from chanserv.errors import ConfigurationError, LayerUnavailable
from chanserv.layers.memory import MemoryChannelLayer
from chanserv.ops.lookout import Lookout
from chanserv.ops.pages import PagesFactory
from chanserv.ops.pulse import PATIENCE
from chanserv.ops.snapshot import Process
from chanserv.server.counts import Counts
from chanserv.server.listener import CannotStart
from chanserv.worker.status import WorkerState, WorkerStatus

PLACE = "tcp:9100:interface=127.0.0.1"


class SlowLayer(MemoryChannelLayer):
    """A layer whose answers wait for the test, where it says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.silence: Deferred | None = None
        self.error: Exception | None = None

    def global_statistics(self):
        self.asked.append("")
        if self.error is not None:
            raise self.error
        return self.silence or super().global_statistics()

    def channel_statistics(self, channel):
        self.asked.append(channel)
        return super().channel_statistics(channel)


class LookoutTestCase(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        self.layer = SlowLayer()
        self.process = Process(release="v1", layer="memory:")
        self.process.mailbox = "chanserv.abc!"
        self.process.counts = lambda: Counts(requests=7)
        self.workers = [WorkerStatus(0, 7, WorkerState.RUNNING, "v1", channels=("thumbnails",))]
        self.process.workers = lambda: self.workers
        self.serving = True
        self.written = 0

    def lookout(self, place: str = PLACE, reactor: object = None) -> Lookout:
        return Lookout(
            place,
            self.layer,
            reactor or self.reactor,
            self.process,
            serving=lambda: self.serving,
            present=lambda: None,
            aside=self.aside,
        )

    def aside(self, call, *args):
        """What stands for a thread."""
        self.written += 1
        return maybeDeferred(call, *args)

    def started(self) -> Lookout:
        lookout = self.lookout()
        lookout.startService()
        self.addCleanup(lambda: lookout.running and self.successResultOf(lookout.stopService()))
        return lookout

    def page(self, lookout: Lookout) -> str:
        page, _ = self.successResultOf(lookout._metrics(""))
        return page.decode()

    def test_the_page_tells_of_the_process_its_layer_and_its_workers(self):
        self.layer.send("thumbnails", {})
        page = self.page(self.started())
        for line in (
            "chanserv_replies_pending 0.0",
            "chanserv_ready 1.0",
            "chanserv_requests_total 7.0",
            'chanserv_workers{release="v1",state="running"} 1.0',
            'chanserv_channel_messages_pending{channel="thumbnails"} 1.0',
            'chanserv_channel_messages_pending{channel="http.request"} 0.0',
            "chanserv_layer_messages_pending 1.0",
            "chanserv_layer_round_trip_seconds_count 1.0",
        ):
            self.assertIn(line + "\n", page)

    def test_lines_of_the_log_count_while_it_runs(self):
        lookout = self.started()
        Logger().error("one")
        Logger().error("two")
        self.assertIn('chanserv_log_events_total{level="error"} 2.0', self.page(lookout))
        self.successResultOf(lookout.stopService())
        Logger().error("three")
        self.assertIn('chanserv_log_events_total{level="error"} 2.0', self.page(lookout))
        self.flushLoggedErrors()

    def test_levels_that_nothing_was_logged_with_are_there_too(self):
        page = self.page(self.started())
        for level in ("debug", "info", "warn", "error", "critical"):
            self.assertRegex(page, f'chanserv_log_events_total{{level="{level}"}} [0-9]')

    def test_many_who_ask_at_once_cost_one_look_at_the_layer(self):
        lookout = self.started()
        self.layer.silence = Deferred()
        pages = [lookout._metrics("") for _ in range(5)]
        self.assertEqual(self.layer.asked.count("http.request"), 1)
        self.layer.silence.callback({"messages_pending": 3})
        for page in pages:
            self.assertIn(b"chanserv_layer_messages_pending 3.0", self.successResultOf(page)[0])

    def test_pages_are_written_elsewhere_and_one_after_the_other(self):
        waiting = []

        def aside(call, *args):
            waiting.append(Deferred().addCallback(lambda _: call(*args)))
            return waiting[-1]

        self.aside = aside
        lookout = self.started()
        first, second = lookout._metrics(""), lookout._metrics("")
        Logger().error("what comes meanwhile is for the next")
        self.assertEqual(len(waiting), 1)
        waiting[0].callback(None)
        self.assertIn(b'{level="error"} 0.0', self.successResultOf(first)[0])
        self.assertNoResult(second)
        waiting[1].callback(None)
        self.successResultOf(second)
        self.flushLoggedErrors()

    def test_a_layer_that_is_away_leaves_the_rest_of_the_page(self):
        self.layer.error = LayerUnavailable("nobody listens")
        page = self.page(self.started())
        self.assertIn("chanserv_layer_up 0.0", page)
        self.assertIn("chanserv_ready 0.0", page)
        self.assertIn("chanserv_requests_total 7.0", page)
        self.assertNotIn("chanserv_layer_messages_pending", page)
        # It was asked once, and not channel by channel.
        self.assertEqual(self.layer.asked, [""])

    def test_a_silent_layer_delays_a_page_only_so_long(self):
        lookout = self.started()
        self.reactor.advance(60)
        self.layer.silence = Deferred()
        page = lookout._metrics("")
        self.reactor.advance(PATIENCE)
        self.reactor.advance(PATIENCE)
        self.assertIn(b"chanserv_requests_total 7.0", self.successResultOf(page)[0])

    def test_it_says_where_it_is(self):
        with capturedLogs() as events:
            lookout = self.started()
        self.assertIn("Metrics and health: ", formatEvent(events[-1]))
        (server,) = self.reactor.tcpServers
        self.assertEqual(server[0], 9100)
        self.assertIsInstance(server[1], PagesFactory)
        self.assertTrue(lookout.running)

    def test_what_it_began_ends_with_it(self):
        lookout = self.started()
        self.successResultOf(lookout.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_wrong_endpoint_is_said_with_the_options_name(self):
        with self.assertRaises(ConfigurationError) as caught:
            self.lookout("9100")
        self.assertIn("--metrics=9100 is not an endpoint", str(caught.exception))

    def test_a_library_that_is_missing_is_said_with_what_brings_it(self):
        with (
            mock.patch.dict(sys.modules, {"prometheus_client": None}),
            mock.patch.dict(sys.modules),
            self.assertRaises(ConfigurationError) as caught,
        ):
            sys.modules.pop("chanserv.ops.metrics", None)
            import chanserv.ops

            with mock.patch.object(chanserv.ops, "metrics", create=True):
                del chanserv.ops.metrics
                self.lookout()
        self.assertIn("pip install 'chanserv[metrics]'", str(caught.exception))

    def test_a_port_in_use_ends_the_start_with_a_line(self):
        from twisted.internet import reactor

        port = reactor.listenTCP(0, mock.Mock(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        taken = self.lookout(f"tcp:{port.getHost().port}:interface=127.0.0.1", reactor)
        with self.assertRaises(CannotStart) as caught:
            taken.privilegedStartService()
        self.assertIn("ss -ltnp", str(caught.exception))
