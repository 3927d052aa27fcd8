"""Tests for C{chanserv.worker.runs}."""

from __future__ import annotations

import io

import pytest
from twisted.logger import LogLevel, capturedLogs, formatEvent, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase

from chanserv.errors import ConsumeLater, DenyConnection, LayerUnavailable
from chanserv.messages import Delivery, Send, seal
from chanserv.worker.runs import Ending, Run, perform
from tests.worker.fakes import FakeApplication


def raising(error: BaseException):
    def consumer(channel, message, outbox):
        raise error

    return consumer


def run_of(channel: str, consumer, **message: object) -> Run:
    run = Run(Delivery((channel,), seal(message)))
    perform(run, FakeApplication(consumer))
    return run


class TestPerform:
    def test_the_consumer_gets_its_own_copy_of_the_message(self) -> None:
        seen = []
        run = run_of("a", lambda channel, message, outbox: seen.append(message), number=1)
        assert seen == [{"number": 1}]
        assert type(seen[0]) is dict
        assert seen[0] is not run.delivery.message
        assert run.ending is Ending.DONE

    def test_what_it_sends_stays_in_the_outbox(self) -> None:
        run = run_of("a", lambda channel, message, outbox: outbox.send("b", {}))
        assert run.outbox.operations == [Send("b", {})]

    def test_consume_later_is_an_ending_and_no_fault(self) -> None:
        with capturedLogs() as events:
            run = run_of("http.request", raising(ConsumeLater()), reply_channel="s!1")
        assert run.ending is Ending.LATER
        assert run.outbox.operations == []
        assert events == []

    def test_the_next_run_of_a_message_put_off_knows_how_often(self) -> None:
        seen = []

        def consumer(channel, message, outbox):
            seen.append(message.get("__retries__"))
            raise ConsumeLater

        run = run_of("a", consumer, __retries__=4)
        again = run.again()
        perform(again, FakeApplication(consumer))
        assert seen == [4, 5]
        assert again.outbox is not run.outbox

    def test_a_denied_connection_is_closed_quietly(self) -> None:
        with capturedLogs() as events:
            run = run_of("websocket.connect", raising(DenyConnection()), reply_channel="s!1")
        assert run.ending is Ending.DONE
        assert run.outbox.operations == [Send("s!1", {"close": True})]
        assert events == []

    @pytest.mark.parametrize("channel", ["websocket.receive", "http.request", "mail"])
    def test_deny_connection_elsewhere_is_a_fault_without_a_traceback(self, channel: str) -> None:
        with capturedLogs() as events:
            run = run_of(channel, raising(DenyConnection()), reply_channel="s!1")
        (event,) = events
        assert event["log_level"] is LogLevel.error
        assert "log_failure" not in event
        assert "only a consumer of 'websocket.connect'" in (formatEvent(event) or "")
        assert run.ending is Ending.FAULT

    def test_a_layer_that_is_away_is_a_fault_without_a_traceback(self) -> None:
        with capturedLogs() as events:
            run = run_of(
                "http.request", raising(LayerUnavailable("no way there")), reply_channel="s!1"
            )
        (event,) = events
        assert event["log_level"] is LogLevel.warn
        assert "log_failure" not in event
        assert formatEvent(event) == (
            "site.consumers.only could not finish with a message from channel 'http.request': "
            "no way there"
        )
        assert run.ending is Ending.FAULT
        assert run.outbox.operations[0].message["status"] == 500

    def test_consumers_without_a_name_are_named_by_their_channel(self) -> None:
        run = Run(Delivery(("mail",), seal({})))
        assert run.consumer == "the consumer of 'mail'"


class Faults(SynchronousTestCase):
    def test_every_exception_ends_here_and_is_logged_with_consumer_and_channel(self):
        for error in (ZeroDivisionError(), SystemExit(1), KeyboardInterrupt(), GeneratorExit()):
            with capturedLogs() as events:
                run = run_of("http.request", raising(error), reply_channel="s!1")
            (event,) = events
            self.assertIs(run.ending, Ending.FAULT)
            self.assertIs(event["log_level"], LogLevel.critical)
            self.assertIs(event["log_failure"].value, error)
            self.assertEqual(event["consumer"], "site.consumers.only")
            self.assertEqual(event["channel"], "http.request")
            self.assertEqual(run.outbox.operations[0].message["status"], 500)
            self.flushLoggedErrors(type(error))

    def test_an_exception_that_cannot_be_shown_is_survived(self):
        class Unshowable(Exception):
            def __str__(self):
                raise ValueError("not even this")

            __repr__ = __str__

        with capturedLogs() as events:
            run = run_of("http.request", raising(Unshowable()), reply_channel="s!1")
        self.assertIs(run.ending, Ending.FAULT)
        output = io.StringIO()
        textFileLogObserver(output)(events[0])
        self.assertIn("Unshowable", output.getvalue())
        self.flushLoggedErrors(Unshowable)
