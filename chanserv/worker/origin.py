"""
Who a line of a worker's log is about: a consumer, and the request that made it run.

A request's id is made, or taken, where the request came in; an operator who has it from
there finds all that was done for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

HEADER: Final = b"x-request-id"
"""Where the id stands in the events that begin a request or a socket."""

KEY: Final = "request_id"
"""Under which it stands in the later events of either."""

_SANE: Final = re.compile(r"[\x21-\x7e]{1,128}\Z")
"""What is shown in a log.  Messages may be anybody's: interface servers of others pass on
what a client sent."""


def request_id_of(message: Mapping[str, object]) -> str:
    """
    Find the id of the request or socket that an event belongs to.

    @param message: the event, or any message.
    @return: the id, or nothing where it has none that can be shown.
    """
    found = message.get(KEY)
    if found is None:
        found = _header(message.get("headers"))
    if isinstance(found, bytes):
        found = found.decode("latin-1")
    return found if isinstance(found, str) and _SANE.match(found) else ""


def _header(headers: object) -> object:
    if not isinstance(headers, list | tuple):
        return None
    for field in headers:
        if isinstance(field, list | tuple) and len(field) == 2 and field[0] == HEADER:
            return field[1]
    return None


@dataclass(frozen=True, slots=True)
class Origin:
    """
    A consumer, and the request that it ran for.

    @ivar consumer: its name, or words for it.
    @ivar request_id: of the request, or nothing.
    """

    consumer: str
    request_id: str = ""

    @property
    def note(self) -> str:
        """What to add to the format of a log event that has L{fields}."""
        return " (request {request_id})" if self.request_id else ""

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of such an event."""
        if self.request_id:
            return {"consumer": self.consumer, "request_id": self.request_id}
        return {"consumer": self.consumer}
