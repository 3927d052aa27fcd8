"""
The stages that a request goes through.

Say C{stages.WAITING} and not C{Stage.WAITING}: see L{chanserv.server.phases}.
"""

from __future__ import annotations

from enum import Enum


class Stage(Enum):
    """Where a request is."""

    RECEIVING = "receiving"
    WAITING = "waiting"
    """Sent to the layer; nothing has come back."""
    STREAMING = "streaming"
    """Part of the response is out, and more will come."""
    UPGRADING = "upgrading"
    """A WebSocket handshake that waits for its consumer."""
    DONE = "done"


RECEIVING, WAITING, STREAMING, UPGRADING, DONE = Stage
