"""Tests for C{chanserv.ops.json_log}: the log as lines of JSON."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel
from twisted.python.logfile import LogFile

from chanserv.errors import ConfigurationError
from chanserv.ops.json_log import (
    MAX_FIELDS,
    MAX_TEXT,
    iso_time,
    json_line,
    json_observer,
    log_as_json,
)


def written(log: Any) -> dict[str, Any]:
    """What one line says of what C{log(logger)} logs."""
    out = io.StringIO()
    log(Logger(namespace="site.here", observer=json_observer(out)))
    (line,) = out.getvalue().splitlines()
    return json.loads(line)


def test_a_line_has_time_level_logger_and_message_first_and_then_the_fields() -> None:
    found = written(
        lambda logger: logger.emit(
            LogLevel.warn, "{consumer} is slow", consumer="site.a", release="v2", worker=3
        )
    )
    assert list(found)[:4] == ["time", "level", "logger", "message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {
        "level": "warn",
        "logger": "site.here",
        "message": "site.a is slow",
        "consumer": "site.a",
        "release": "v2",
        "worker": 3,
    }


def test_a_number_that_no_program_reads_is_text() -> None:
    found = written(
        lambda logger: logger.info("well", large=2**63 - 1, larger=2**63, most=10**9999)
    )
    assert found["large"] == 2**63 - 1
    assert found["larger"] == "0x8000000000000000"
    assert found["most"].startswith("0x")


def test_the_time_is_in_utc() -> None:
    assert iso_time(0.0625) == "1970-01-01T00:00:00.062Z"
    assert iso_time(None).startswith("20")


def test_an_exception_has_its_traceback_in_one_field_of_the_same_line() -> None:
    def log(logger: Logger) -> None:
        try:
            raise ValueError("in two\nlines")
        except ValueError:
            logger.failure("It failed")

    found = written(log)
    assert (found["level"], found["message"]) == ("critical", "It failed")
    assert "Traceback" in found["traceback"]
    assert "ValueError: in two\nlines" in found["traceback"]


def test_a_traceback_that_came_from_another_process_is_not_told_twice() -> None:
    found = json.loads(
        json_line(
            {
                "log_format": "[worker {worker}] {text}",
                "log_level": LogLevel.critical,
                "worker": 2,
                "text": "It failed\nTraceback: x",
                "traceback": "Traceback: x",
            }
        )
    )
    assert (found["message"], found["traceback"]) == ("[worker 2] It failed", "Traceback: x")
    assert "text" not in found


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (b"a\xff", "a\\xff"),
        (ValueError("why"), "why"),
        (("a", 1), "('a', 1)"),
        ("\x1b[2J\ud800", "\x1b[2J\ud800"),
    ],
)
def test_any_field_can_be_written(value: object, shown: object) -> None:
    found = written(lambda log: log.info("x", value=value))
    assert found["value"] == shown


def test_nothing_in_a_line_can_reach_a_terminal_or_end_the_line() -> None:
    line = json_line({"log_format": "{a}", "a": "\x1b[2J\x9b\n\u2028\ud800"})
    assert line.isascii()
    assert line.isprintable() is False
    assert line[:-1].isprintable()


def test_what_cannot_be_shown_costs_no_line() -> None:
    class Shy:
        def __str__(self) -> str:
            raise RuntimeError("no")

        __repr__ = __str__

    found = written(lambda log: log.info("here", shy=Shy()))
    assert found["message"] == "here"
    assert "Shy" in found["shy"]


def test_a_field_cannot_take_the_place_of_what_all_lines_have() -> None:
    found = json.loads(
        json_line({"log_format": "right", "message": "wrong", "level": "wrong", "logger": "wrong"})
    )
    assert (found["message"], found["level"], found["logger"]) == ("right", "info", "")


def test_long_values_and_many_fields_are_cut() -> None:
    fields = {f"field_{number}": "x" * (MAX_TEXT + 10) for number in range(MAX_FIELDS + 10)}
    found = written(lambda log: log.info("m" * (MAX_TEXT + 10), **fields))
    assert len(found) == MAX_FIELDS
    assert len(found["message"]) == len(found["field_0"]) == MAX_TEXT


@given(
    st.dictionaries(
        st.text() | st.sampled_from(["log_format", "log_time", "log_level", "time", "text"]),
        st.none() | st.text() | st.binary() | st.integers() | st.floats() | st.lists(st.text()),
        max_size=5,
    )
)
def test_whatever_is_in_an_event_it_becomes_one_line_of_json(event: dict[str, Any]) -> None:
    event.pop("log_level", None)
    line = json_line(event)
    assert line.count("\n") == 1
    assert list(json.loads(line))[:4] == ["time", "level", "logger", "message"]


# Where it goes


def twistd(**options: object) -> dict[str, object]:
    return {"logger": None, "syslog": 0, "logfile": None, "nodaemon": 1, **options}


def test_twist_gets_another_way_to_write_to_its_file() -> None:
    options = {"fileLogObserverFactory": object(), "logFile": object()}
    assert log_as_json(options) is None
    assert options["fileLogObserverFactory"] is json_observer


def test_twistd_in_the_foreground_writes_to_standard_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    for logfile in (None, "-"):
        observer = log_as_json(twistd(logfile=logfile))
        assert observer is not None
        observer({"log_format": "here"})
    assert [json.loads(line)["message"] for line in out.getvalue().splitlines()] == ["here"] * 2


@pytest.fixture
def _signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("_signals")
def test_twistd_writes_to_its_file_which_can_be_rotated(tmp_path: Path) -> None:
    path = tmp_path / "site.log"
    observer = log_as_json(twistd(logfile=str(path), nodaemon=0))
    assert observer is not None
    observer({"log_format": "before"})
    log = observer._outFile
    assert isinstance(log, LogFile)
    assert callable(signal.getsignal(signal.SIGUSR1))
    log.rotate()
    observer({"log_format": "after"})
    log.close()
    assert json.loads((tmp_path / "site.log.1").read_text())["message"] == "before"
    assert json.loads(path.read_text())["message"] == "after"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"logger": "site.log"}, "--logger"),
        ({"syslog": 1}, "--syslog"),
        ({"logfile": "-", "nodaemon": 0}, "-n"),
        ({"logfile": "/nonexistent/log", "nodaemon": 0}, "/nonexistent/log"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        log_as_json(twistd(**options))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
