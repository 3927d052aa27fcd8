"""The access log."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from chanserv.server.access_log import FLUSH_AT, AccessLog, combined_line, log_stamp, quoted
from tests.server.rig import HANDSHAKE, Rig, frame

COMBINED = re.compile(
    r"(?P<client>\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "
    r'"(?P<request>[^"]*)" (?P<status>\d{3,4}) (?P<length>\d+|-) '
    r'"(?P<referer>[^"]*)" "(?P<agent>[^"]*)"\n'
)


@given(st.binary())
def test_nothing_in_a_value_ends_its_quotes_or_its_line(value: bytes) -> None:
    text = quoted(value)
    assert text.isascii()
    assert text.isprintable()
    assert '"' not in text
    line = combined_line("::1", log_stamp(0), value, 200, 3, value, value)
    assert COMBINED.fullmatch(line)


def test_the_stamp_is_that_of_the_format() -> None:
    assert log_stamp(971186136) == "10/Oct/2000:13:55:36 +0000"


def test_each_response_has_a_line() -> None:
    out = io.StringIO()
    rig = Rig(access_log=out)
    client = rig.connect()
    client.get(b"/a?b", b"User-Agent: me\r\nReferer: http://there/\r\n").get(b"/%ff")
    rig.advance(1)
    first, second = out.getvalue().splitlines(keepends=True)
    found = COMBINED.fullmatch(first)
    assert found is not None
    assert found.groupdict() == {
        "client": "192.0.2.7",
        "request": "GET /a?b HTTP/1.1",
        "status": "200",
        "length": "4",
        "referer": "http://there/",
        "agent": "me",
    }
    refused = COMBINED.fullmatch(second)
    assert refused is not None
    assert (refused["request"], refused["status"]) == ("GET /%ff HTTP/1.1", "400")


def test_a_client_that_leaves_before_its_answer_has_a_line() -> None:
    out = io.StringIO()
    rig = Rig(lambda channel, message: None, access_log=out)
    rig.connect().get().leave()
    rig.advance(1)
    assert '"GET / HTTP/1.1" 499 - ' in out.getvalue()


def test_a_websocket_has_a_line_for_its_begin_and_its_end() -> None:
    out = io.StringIO()
    rig = Rig(access_log=out)
    client = rig.connect().send(HANDSHAKE + b"User-Agent: me\r\n\r\n")
    client.send(frame(b"hello")).send(frame(b"\x0f\xa1", 8))
    rig.advance(1)
    begin, end = out.getvalue().splitlines(keepends=True)
    assert COMBINED.fullmatch(begin)
    assert COMBINED.fullmatch(end)
    assert '"GET /chat HTTP/1.1" 101 - "-" "me"' in begin
    assert '"WEBSOCKET /chat closed" 4001 5 ' in end


def test_a_refused_handshake_has_its_line() -> None:
    out = io.StringIO()
    rig = Rig(lambda channel, message: [{"accept": False}], access_log=out)
    rig.connect().send(HANDSHAKE + b"\r\n")
    rig.advance(1)
    assert '"GET /chat HTTP/1.1" 403 ' in out.getvalue()


def test_lines_are_written_together_after_a_moment() -> None:
    clock, out = Clock(), io.StringIO()
    log = AccessLog(out, clock)
    log.add("-", b"one", 200, None)
    log.add("-", b"two", 200, None)
    assert out.getvalue() == ""
    clock.advance(1)
    assert out.getvalue().count("\n") == 2
    assert clock.getDelayedCalls() == []


def test_very_many_lines_are_written_at_once() -> None:
    out = io.StringIO()
    log = AccessLog(out, Clock())
    for _ in range(FLUSH_AT):
        log.add("-", b"one", 200, None)
    assert out.getvalue().count("\n") == FLUSH_AT


def test_lines_are_added_to_a_file_which_may_be_rotated(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("before\n")
    log = AccessLog(str(path), Clock())
    log.add("-", b"one", 200, None)
    log.flush()
    path.rename(tmp_path / "access.log.1")
    log.add("-", b"two", 200, None)
    log.reopen()
    log.add("-", b"three", 200, None)
    log.close()
    rotated = (tmp_path / "access.log.1").read_text().splitlines()
    assert [line.count('"two"') for line in rotated] == [0, 0, 1]
    assert '"three"' in path.read_text()


def test_a_log_that_cannot_be_opened_again_goes_on_in_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = AccessLog(str(folder / "access.log"), Clock())
    moved = folder.rename(tmp_path / "moved")
    log.reopen()
    log.add("-", b"after", 200, None)
    log.close()
    assert '"after"' in (moved / "access.log").read_text()


def test_a_stream_of_someone_else_stays_open() -> None:
    out = io.StringIO()
    AccessLog(out, Clock()).close()
    assert not out.closed


def test_standard_output_is_named_by_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    log = AccessLog("-", Clock())
    log.add("-", b"one", 200, None)
    log.close()
    assert '"one" 200' in capsys.readouterr().out


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    log = AccessLog(Full(), Clock())
    log.add("-", b"one", 200, None)
    log.flush()
    log.add("-", b"two", 200, None)
    log.flush()


def test_a_line_of_json_begins_as_those_of_the_log_do() -> None:
    clock, stream = Clock(), io.StringIO()
    clock.advance(971186136)
    log = AccessLog(stream, clock, as_json=True)
    log.add("1.2.3.4", b'GET /"\xff HTTP/1.1', 200, None, b"-", b"curl\x1b", b"abc-7")
    log.flush()
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert json.loads(line) == {
        "time": "2000-10-10T13:55:36Z",
        "level": "info",
        "logger": "chanserv.access",
        "message": 'GET /"\xff HTTP/1.1 200',
        "client": "1.2.3.4",
        "request": 'GET /"\xff HTTP/1.1',
        "status": 200,
        "bytes": None,
        "agent": "curl\x1b",
        "request_id": "abc-7",
    }
