"""
The phases that a connection goes through with HTTP/1.

Say C{phases.IDLE} and not C{Phase.IDLE}: they are compared with many times for each
request, and Python 3.11 takes ten times as long to find a member in its Enum.
"""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Where a connection is."""

    NEW = "new"
    """Before the first bytes of the connection, which may be those of HTTP/2."""
    IDLE = "idle"
    """Before the first byte of a further request."""
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


NEW, IDLE, HEAD, BODY, ANSWERING, LINGERING, CLOSING, GONE = Phase
