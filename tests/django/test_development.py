"""Parts of the development server: its access log, and its private layer."""

from __future__ import annotations

import io
import logging
import re
import shutil
import stat
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from django.test import override_settings
from twisted.internet.task import Clock

from chanserv.core.defaults import EXPIRY
from chanserv.django.development import DevelopmentLog, Front
from chanserv.layers.from_spec import make_layer


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


class TestPrivateLayer:
    CONFIG = {
        "capacity": 7,
        "expiry": 5,
        "channel_capacity": {"thumbnails.*": 3, re.compile("x"): 4},
        "redeliver": ["http.request"],
    }

    def url(self, config: dict[str, object]) -> str:
        with override_settings(CHANNEL_LAYERS={"default": {"CONFIG": config}}):
            front = Front("default", 4, {}, print, print, print)
            return front._private_layer()

    def folder(self, url: str) -> Path:
        (folder,) = parse_qs(url.partition("?")[2])["directory"]
        return Path(folder)

    def test_it_is_this_users_and_this_runs_alone(self) -> None:
        first, second = self.url({}), self.url({})
        try:
            assert self.folder(first) != self.folder(second)
            assert stat.S_IMODE(self.folder(first).stat().st_mode) == 0o700
            assert make_layer(first, Clock()).expiry == EXPIRY
        finally:
            for url in (first, second):
                shutil.rmtree(self.folder(url))

    def test_it_has_the_capacities_and_times_of_the_layer_in_memory(self) -> None:
        url = self.url(self.CONFIG)
        shutil.rmtree(self.folder(url))
        query = parse_qs(url.partition("?")[2])
        assert make_layer(url, Clock()).expiry == 5
        assert query["capacity"] == ["7"]
        assert query["channel_capacity"] == ["thumbnails.*:3"]
        assert query["redeliver"] == ["http.request"]
