"""Tests for C{chanserv.supervision.relay}: log events on their way between processes."""

from __future__ import annotations

import json
import math

from twisted.logger import Logger, LogLevel, eventAsText, formatEvent

from chanserv.supervision.relay import MAX_FIELDS, MAX_TEXT, plain, relay


def sent(log) -> list[dict]:
    """What arrives of what C{log} says to a logger."""
    events: list[dict] = []
    log(Logger(namespace="mysite.views", observer=events.append))
    arrived: list[dict] = []
    for event in events:
        relay(json.loads(json.dumps(plain(event))), 3, "r7", arrived.append)
    return arrived


def test_an_event_arrives_with_the_place_of_its_worker() -> None:
    (event,) = sent(lambda log: log.error("{count} of {what}", count=2, what="{braces}"))
    assert formatEvent(event) == "[worker 3] 2 of {braces}"
    assert event["log_level"] is LogLevel.error
    assert event["log_namespace"] == "mysite.views"
    assert event["log_time"] > 0
    assert (event["worker"], event["release"], event["count"]) == (3, "r7", 2)


def test_a_failure_arrives_as_its_traceback() -> None:
    def log(to: Logger) -> None:
        try:
            raise ZeroDivisionError("once")
        except ZeroDivisionError:
            to.failure("It failed")

    (event,) = sent(log)
    text = eventAsText(event)
    assert "[worker 3] It failed\n" in text
    assert "ZeroDivisionError: once" in text
    assert event["traceback"].count("ZeroDivisionError") >= 1
    assert event["log_level"] is LogLevel.critical


def test_fields_that_are_not_plain_stay_behind() -> None:
    (event,) = sent(lambda log: log.info("x", one=object(), two=math.nan, log_three=3, four=4.5))
    assert "one" not in event
    assert "two" not in event
    assert event["four"] == 4.5


def test_what_is_too_much_is_left_out() -> None:
    many = {f"field{n}": "y" * (2 * MAX_TEXT) for n in range(2 * MAX_FIELDS)}
    (event,) = sent(lambda log: log.info("{text_of_it}", text_of_it="x" * (2 * MAX_TEXT), **many))
    assert len(event["text"]) == MAX_TEXT
    assert sum(name.startswith("field") for name in event) <= MAX_FIELDS
    assert all(len(event[name]) <= MAX_TEXT for name in event if name.startswith("field"))


def test_an_event_cannot_pass_for_another_workers() -> None:
    (event,) = sent(lambda log: log.info("x", worker=9, release="other", text="mine"))
    assert (event["worker"], event["release"]) == (3, "r7")
    assert formatEvent(event) == "[worker 3] x"


def test_fields_that_a_log_has_for_itself_are_not_taken_from_another_process() -> None:
    events: list[dict] = []
    said = {"time": 1.0, "text": "x", "fields": {"log_flattened": {}, "log_io": True, "a": 1}}
    relay(said, 3, "r7", events.append)
    assert "log_flattened" not in events[0]
    assert "log_io" not in events[0]
    assert events[0]["a"] == 1
