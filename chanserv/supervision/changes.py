"""What workers say of files that have changed, and when that is reason to replace them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall

SETTLE: Final = 0.2
"""Seconds after a change within which others are taken to belong to it: an editor that
saves all, or a checkout, touches many files, and workers look at them one by one."""

MAX_FILES: Final = 100_000
"""Files whose last change is remembered: more than are watched."""


class Changes:
    """
    Has workers replaced once for what changed at once.

    Several processes may watch the same file, such as one at work, and its
    successor that could not be loaded.
    """

    def __init__(
        self,
        reload: Callable[[str], object],
        call_later: Callable[..., IDelayedCall],
    ) -> None:
        """
        @param reload: called with words on what has changed.
        @param call_later: the reactor's C{callLater}.
        """
        self._reload = reload
        self._call_later = call_later
        self._seen: dict[str, float] = {}
        self._gathered: list[str] = []

    def heard(self, slot: int, value: Any) -> None:
        """
        Hear that a file has changed.

        @param value: its path, and when that was.
        """
        path, when = str(value[0]), float(value[1])
        if self._seen.get(path) == when:
            return
        if len(self._seen) >= MAX_FILES:
            self._seen.clear()
        self._seen[path] = when
        if not self._gathered:
            self._call_later(SETTLE, self._settled)
        self._gathered.append(path)

    def _settled(self) -> None:
        first, *others = self._gathered
        self._gathered = []
        if others:
            self._reload(f"{first} and {len(others)} more have changed")
        else:
            self._reload(f"{first} has changed")
