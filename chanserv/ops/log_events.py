"""How many lines the log of a process has got."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.logger import ILogObserver
from zope.interface import implementer


@implementer(ILogObserver)
class LogEvents:
    """
    Counts log events.

    @ivar by_level: how many, by the name of the level.
    """

    def __init__(self) -> None:
        self.by_level: Counter[str] = Counter()

    def __call__(self, event: dict[str, Any]) -> None:
        """Count one."""
        level = event.get("log_level")
        self.by_level[level.name if level is not None else "info"] += 1
