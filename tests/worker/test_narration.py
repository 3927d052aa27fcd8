"""Tests for C{chanserv.worker.narration}."""

from __future__ import annotations

import pytest
from twisted.logger import capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from chanserv.interfaces import IApplication
from chanserv.worker.narration import Narrated
from chanserv.worker.outbox import Outbox
from tests.worker.fakes import FakeApplication


def narrated(consumer) -> Narrated:
    times = iter([10.0, 10.0123])
    return Narrated(FakeApplication(consumer, ["a", "b"], ["b"]), lambda: next(times))


def test_it_is_the_application_that_it_tells_of() -> None:
    application = narrated(print)
    verifyObject(IApplication, application)
    assert application.channel_names() == {"a", "b"}
    assert application.ignored_channels() == {"b"}


def test_each_run_is_told_with_channel_consumer_time_and_reply_channel() -> None:
    with capturedLogs() as events:
        narrated(lambda *given: None).run("a", {"reply_channel": "r!1"}, Outbox())
    (event,) = events
    assert formatEvent(event) == "a: site.consumers.only, 12.3 ms, for r!1"
    assert (event["channel"], event["reply_channel"]) == ("a", "r!1")


def test_a_message_that_nobody_waits_for_has_no_reply_channel() -> None:
    with capturedLogs() as events:
        narrated(lambda *given: None).run("a", {}, Outbox())
    assert [formatEvent(event) for event in events] == ["a: site.consumers.only, 12.3 ms"]


def test_a_consumer_that_raises_is_told_and_its_exception_goes_on() -> None:
    def fail(channel: str, message: dict[str, object], outbox: Outbox) -> None:
        message.clear()
        raise KeyError("no")

    with capturedLogs() as events, pytest.raises(KeyError):
        narrated(fail).run("a", {"reply_channel": "r!1"}, Outbox())
    assert [formatEvent(event) for event in events] == [
        "a: site.consumers.only raised KeyError, 12.3 ms, for r!1"
    ]
