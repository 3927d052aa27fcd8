"""The access log of the development server."""

from __future__ import annotations

import io
import logging

import pytest
from twisted.internet.task import Clock

from chanserv.django.development import DevelopmentLog


@pytest.mark.parametrize(
    ("line", "status", "length", "level", "words"),
    [
        (b"GET / HTTP/1.1", 200, 5, logging.INFO, '"GET / HTTP/1.1" 200 5'),
        (b"GET /\x1b HTTP/1.1", 404, None, logging.WARNING, '"GET /\\x1b HTTP/1.1" 404 0'),
        (b"GET / HTTP/1.1", 503, 9, logging.ERROR, '"GET / HTTP/1.1" 503 9'),
        (b"WEBSOCKET /chat/ closed", 1000, 7, logging.INFO, "WEBSOCKET /chat/ closed 1000"),
    ],
)
def test_a_line_has_the_look_and_the_level_of_djangos_own(
    line: bytes,
    status: int,
    length: int | None,
    level: int,
    words: str,
) -> None:
    records: list[logging.LogRecord] = []
    kept = logging.Handler()
    kept.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("django.server")
    logger.addHandler(kept)
    try:
        log = DevelopmentLog(io.StringIO(), Clock())  # type: ignore[arg-type]
        log.add("127.0.0.1", line, status, length)
        log.close()
    finally:
        logger.removeHandler(kept)
    (record,) = records
    assert (record.levelno, record.getMessage()) == (level, words)
    assert hasattr(record, "server_time")
