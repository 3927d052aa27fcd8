"""Python's C{logging} in a site that workers run."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogLevel, capturedLogs, formatEvent

from chanserv.django.log import RequestIdFilter, ServerLog, request_id
from chanserv.ops.json_log import json_line
from tests.django.site_runner import SiteRunner

HEADERS = [(b"x-request-id", b"abc-7")]


@contextmanager
def logging_to(handler: logging.Handler, name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What a site's own handler writes, with the filter and a format that shows the id."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(logging.Formatter("%(request_id)s %(message)s"))
    with logging_to(handler, "site.log"), logging_to(handler, "django.request"):
        yield stream


@pytest.mark.parametrize("channel", ["log", "log-async"])
def test_what_a_consumer_logs_has_the_id_of_its_event(
    site: SiteRunner, lines: io.StringIO, channel: str
) -> None:
    site.run(channel, {"what": "tea", "request_id": "abc-8"})
    site.run(channel, {"what": "milk", "headers": [list(one) for one in HEADERS]})
    site.run(channel, {"what": "sugar"})
    assert lines.getvalue() == "abc-8 asked for tea\nabc-7 asked for milk\n- asked for sugar\n"


def test_what_django_logs_of_a_request_has_its_id(site: SiteRunner, lines: io.StringIO) -> None:
    site.run("http.request", site.request_message("GET", "/nowhere/", HEADERS) | reply(site))
    assert lines.getvalue() == "abc-7 Not Found: /nowhere/\n"


def reply(site: SiteRunner) -> dict[str, str]:
    return {"reply_channel": site.reply_channel()}


def test_outside_of_a_consumer_there_is_no_id(site: SiteRunner, lines: io.StringIO) -> None:
    site.run("log", {"what": "tea", "request_id": "abc-8"})
    logging.getLogger("site.log").warning("between")
    assert request_id() == ""
    assert lines.getvalue().splitlines()[-1] == "- between"


def test_runs_at_once_have_each_their_own(site: SiteRunner, lines: io.StringIO) -> None:
    runs = [
        site.start("log", {"what": f"cup {number}", "request_id": f"id-{number}"})[0]
        for number in range(8)
    ]
    for run in runs:
        run.join()
    assert sorted(lines.getvalue().splitlines()) == [
        f"id-{number} asked for cup {number}" for number in range(8)
    ]


def test_an_id_that_a_record_has_already_is_left() -> None:
    record = logging.makeLogRecord({"msg": "x", "request_id": "its own"})
    assert RequestIdFilter().filter(record)
    assert record.request_id == "its own"  # type: ignore[attr-defined]


# Into the server's log


def test_a_record_becomes_an_event_of_the_servers_log(site: SiteRunner) -> None:
    with logging_to(ServerLog(), "site.log"), capturedLogs() as events:
        site.run("log", {"what": "tea", "request_id": "abc-8"})
    (event,) = events
    assert formatEvent(event) == "asked for tea (request abc-8)"
    assert (event["log_namespace"], event["log_level"]) == ("site.log", LogLevel.warn)
    found = json.loads(json_line(event))
    assert (found["message"], found["request_id"]) == (
        "asked for tea (request abc-8)",
        "abc-8",
    )


def test_a_record_of_no_request_speaks_of_none() -> None:
    handler = ServerLog()
    handler.addFilter(RequestIdFilter())
    with capturedLogs() as events:
        handler.handle(logging.makeLogRecord({"msg": "at the start {x}", "levelno": 20}))
    assert formatEvent(events[0]) == "at the start {x}"
    assert "request_id" not in events[0]


def test_an_id_that_the_sites_format_shows_is_not_shown_twice() -> None:
    handler = ServerLog()
    handler.setFormatter(logging.Formatter("%(request_id)s %(message)s"))
    with capturedLogs() as events:
        handler.handle(logging.makeLogRecord({"msg": "x", "levelno": 20, "request_id": "abc-8"}))
    assert formatEvent(events[0]) == "abc-8 x"
    assert events[0]["request_id"] == "abc-8"


def test_an_exception_has_its_traceback_apart() -> None:
    logger = logging.getLogger("site.log.errors")
    with logging_to(ServerLog(), logger.name), capturedLogs() as events:
        try:
            raise ValueError("why")
        except ValueError:
            logger.exception("It failed")
    (event,) = events
    assert event["log_level"] == LogLevel.error
    assert formatEvent(event).startswith("It failed\nTraceback (most recent")
    found = json.loads(json_line(event))
    assert found["message"] == "It failed"
    assert found["traceback"].endswith("ValueError: why")


def test_a_record_that_cannot_be_formatted_costs_the_site_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ServerLog().handle(logging.makeLogRecord({"msg": "%d", "args": ("x",)}))
    assert "Logging error" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "level"),
    [(5, "debug"), (10, "debug"), (20, "info"), (25, "info"), (30, "warn"), (50, "critical")],
)
def test_levels_are_those_of_the_server(number: int, level: str) -> None:
    with capturedLogs() as events:
        ServerLog().handle(logging.makeLogRecord({"msg": "x", "levelno": number}))
    assert events[0]["log_level"].name == level


def test_the_settings_that_the_documentation_shows_are_right() -> None:
    page = (Path(__file__).parents[2] / "docs" / "django.rst").read_text()
    block = page[page.index("   LOGGING = {") :].partition("\n   }\n")[0] + "\n   }"
    names: dict[str, Any] = {}
    exec(textwrap.dedent(block), names)
    shown = names["LOGGING"]
    root = shown.pop("root")
    logging.config.dictConfig({**shown, "loggers": {"site.docs": root}})
    with capturedLogs() as events:
        logging.getLogger("site.docs").info("here")
    logging.getLogger("site.docs").handlers.clear()
    assert [formatEvent(event) for event in events] == ["here"]
