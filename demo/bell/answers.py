"""
Answers to the waiting requests, as plain C{http.response} messages.

A view returns one response for one request.  A message is not so bound: sent to
a group, it answers every request in it.
"""

from __future__ import annotations

import json
from typing import Any

WAITING = "bell.waiting"
"""The group of the reply channels of all requests that wait."""


def news(bell: dict[str, Any]) -> dict[str, Any]:
    """The bell has rung."""
    return _answer(200, json.dumps(bell).encode())


def nothing_yet() -> dict[str, Any]:
    """It has not; ask again."""
    return _answer(204)


def not_so() -> dict[str, Any]:
    """One can only get here."""
    return _answer(405, b"", [b"allow", b"GET"])


def _answer(status: int, content: bytes = b"", *extra: list[bytes]) -> dict[str, Any]:
    headers = [[b"cache-control", b"no-store"], *extra]
    if content:
        headers.append([b"content-type", b"application/json"])
    return {"status": status, "headers": headers, "content": content}
