"""How many lines the log of a process has got."""

from __future__ import annotations

from threading import RLock
from typing import Any

from twisted.logger import ILogObserver, LogLevel
from zope.interface import implementer


@implementer(ILogObserver)
class LogEvents:
    """
    Counts log events, in whichever threads they are logged.

    @ivar by_level: how many, by the name of the level; all levels are there from the
        first, so that nobody who looks sees it grow, and none is missing until it is
        too late.
    """

    def __init__(self) -> None:
        self.by_level: dict[str, int] = {level.name: 0 for level in LogLevel.iterconstants()}
        # One that a signal may come into, whose handler logs, too.
        self._lock = RLock()

    def __call__(self, event: dict[str, Any]) -> None:
        """Count one."""
        level = event.get("log_level") or LogLevel.info
        with self._lock:
            self.by_level[level.name] += 1
