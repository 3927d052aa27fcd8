"""
A channel layer of the old kind, as a third party would write one: ASGI 1's own
methods, which block, on a file that all processes open.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any


class ShelfLayer:
    """Messages of text and numbers on rows of SQLite."""

    extensions = ("groups",)
    expiry = 60
    group_expiry = 86_400

    class ChannelFull(Exception):
        pass

    class MessageTooLarge(Exception):
        pass

    def __init__(self, path: str) -> None:
        self.path = path
        with self._opened() as shelf:
            shelf.execute(
                "CREATE TABLE IF NOT EXISTS messages"
                " (id INTEGER PRIMARY KEY, channel TEXT, whole TEXT, message TEXT)"
            )
            shelf.execute(
                "CREATE TABLE IF NOT EXISTS members (name TEXT, channel TEXT,"
                " PRIMARY KEY (name, channel))"
            )

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        # One for each call, so that any thread of any process may make it.
        with closing(sqlite3.connect(self.path, timeout=60, isolation_level=None)) as shelf:
            shelf.execute("BEGIN IMMEDIATE")
            yield shelf
            shelf.execute("COMMIT")

    def send(self, channel: str, message: dict[str, Any]) -> None:
        with self._opened() as shelf:
            self._put(shelf, channel, message)

    def _put(self, shelf: sqlite3.Connection, channel: str, message: dict[str, Any]) -> None:
        queue = channel[: channel.index("!") + 1] if "!" in channel else channel
        shelf.execute(
            "INSERT INTO messages (channel, whole, message) VALUES (?, ?, ?)",
            (queue, channel, json.dumps(message, default=lambda data: {"bytes": list(data)})),
        )

    def receive(self, channels: list[str], block: bool = False) -> tuple[Any, Any]:
        deadline = time.monotonic() + 1.0
        while True:
            with self._opened() as shelf:
                found = shelf.execute(
                    "SELECT id, whole, message FROM messages WHERE channel IN"
                    f" ({','.join('?' * len(channels))}) ORDER BY id LIMIT 1",
                    tuple(channels),
                ).fetchone()
                if found is not None:
                    shelf.execute("DELETE FROM messages WHERE id = ?", found[:1])
            if found is not None:
                return found[1], json.loads(found[2], object_hook=_with_bytes)
            if not block or time.monotonic() > deadline:
                return None, None
            time.sleep(0.01)

    def new_channel(self, pattern: str) -> str:
        return pattern + secrets.token_hex(8)

    def group_add(self, group: str, channel: str) -> None:
        with self._opened() as shelf:
            shelf.execute("INSERT OR REPLACE INTO members VALUES (?, ?)", (group, channel))

    def group_discard(self, group: str, channel: str) -> None:
        with self._opened() as shelf:
            shelf.execute("DELETE FROM members WHERE name = ? AND channel = ?", (group, channel))

    def group_channels(self, group: str) -> list[str]:
        with self._opened() as shelf:
            rows = shelf.execute("SELECT channel FROM members WHERE name = ?", (group,))
            return [channel for (channel,) in rows]

    def send_group(self, group: str, message: dict[str, Any]) -> None:
        with self._opened() as shelf:
            rows = shelf.execute("SELECT channel FROM members WHERE name = ?", (group,)).fetchall()
            for (channel,) in rows:
                self._put(shelf, channel, message)


def _with_bytes(found: dict[str, Any]) -> Any:
    return bytes(found["bytes"]) if list(found) == ["bytes"] else found
