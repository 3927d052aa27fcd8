"""Tests for C{chanserv.worker.origin}: consumers and requests in a worker's log."""

from __future__ import annotations

import pytest
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from chanserv.errors import ConsumeLater, DenyConnection, LayerUnavailable, MessageTooLarge
from chanserv.messages import Delivery, seal
from chanserv.worker.origin import Origin, request_id_of
from chanserv.worker.retries import MAX_POSTPONEMENTS, RETRIES_KEY
from chanserv.worker.runs import Run, perform
from tests.worker.fakes import FakeApplication
from tests.worker.test_team import TeamTestCase, reply

HEADERS = [[b"host", b"example.com"], [b"x-request-id", b"abc-7"]]


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ({"headers": HEADERS}, "abc-7"),
        ({"headers": tuple(map(tuple, HEADERS))}, "abc-7"),
        ({"request_id": "abc-8"}, "abc-8"),
        ({"request_id": b"abc-8"}, "abc-8"),
        # What stands in the event itself is about this event.
        ({"request_id": "abc-8", "headers": HEADERS}, "abc-8"),
        ({}, ""),
        ({"headers": []}, ""),
        # Messages may be anybody's.
        ({"headers": [[b"x-request-id"], b"x", 5, {}]}, ""),
        ({"headers": {b"x-request-id": b"abc"}}, ""),
        ({"request_id": 5}, ""),
        ({"request_id": "two\nlines"}, ""),
        ({"request_id": "a b"}, ""),
        ({"request_id": "x" * 129}, ""),
        ({"headers": [[b"x-request-id", b"\x9b2J"]]}, ""),
    ],
)
def test_an_id_is_found_in_the_event_or_its_headers_and_is_safe_to_show(message, found) -> None:
    assert request_id_of(message) == found


def test_a_line_without_an_id_speaks_of_none() -> None:
    assert Origin("site.a").note == ""
    assert Origin("site.a").fields == {"consumer": "site.a"}


class InTheLog(SynchronousTestCase):
    def said_of(self, error: BaseException) -> tuple[dict[str, object], str]:
        def consumer(channel, message, outbox):
            raise error

        run = Run(Delivery(("http.request",), seal({"headers": HEADERS})))
        with capturedLogs() as events:
            perform(run, FakeApplication(consumer))
        (event,) = events
        return event, formatEvent(event)

    def test_a_fault_of_a_consumer_names_the_request(self):
        event, text = self.said_of(ValueError("no"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(
            text,
            "site.consumers.only failed on a message from channel 'http.request' (request abc-7)",
        )
        self.assertEqual((event["request_id"], event["channel"]), ("abc-7", "http.request"))

    def test_so_does_each_other_way_to_fail(self):
        for error in (LayerUnavailable("away"), DenyConnection()):
            event, text = self.said_of(error)
            self.assertIn("channel 'http.request' (request abc-7): ", text)
            self.assertEqual(event["request_id"], "abc-7")


class OfATeam(TeamTestCase):
    def test_a_send_that_is_dropped_names_the_request_that_it_was_made_for(self):
        self.layer.errors = lambda operation: MessageTooLarge("a", 10, 5)
        team = self.team(reply())
        with capturedLogs() as events:
            self.layer.give("http.request", reply_channel="a", headers=HEADERS)
            self.turn_until(lambda: team.counters.sends_dropped)
        (event,) = events
        self.assertIn("sent by site.consumers.only (request abc-7), was", formatEvent(event))
        self.assertEqual(event["request_id"], "abc-7")

    def test_so_does_a_message_that_was_put_off_too_often(self):
        def consumer(channel, message, outbox):
            raise ConsumeLater

        team = self.team(consumer)
        put_off = {RETRIES_KEY: MAX_POSTPONEMENTS, "request_id": "abc-9"}
        with capturedLogs() as events:
            self.layer.give("http.request", **put_off)
            self.turn_until(lambda: team.counters.dropped)
        self.assertIn("'http.request' (request abc-9) was dropped", formatEvent(events[0]))
        self.assertEqual(events[0]["request_id"], "abc-9")
