"""What is sent, and what is noted of it: the same for all layers, ours and others'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TEXT: Final = "x" * 100
"""What a message says: as much as a line of chat."""

PAUSE: Final = 0.002
"""Seconds between two messages whose delay is measured: the layer is idle then."""


@dataclass
class Heard:
    """What has come of one group message: for how many members, and after how long."""

    members: int = 0
    seconds: float = 0.0
