"""The phases that an HTTP/1 connection goes through."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Where a connection is."""

    IDLE = "idle"
    """Before the first byte of a request."""
    HEAD = "head"
    BODY = "body"
    ANSWERING = "answering"
    """A request is with a worker, or its response on the way."""
    LINGERING = "lingering"
    """The last answer is written; what the client still sends is thrown away,
    so that closing does not reset the connection under its answer."""
    CLOSING = "closing"
    """Closed, when the last bytes are out."""
    GONE = "gone"
    """Lost, or handed over to another protocol."""
