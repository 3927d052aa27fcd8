"""
What an operator hears of events that were refused, and how many.

An overload refuses hundreds of events a second, and one line in some seconds says
so as well as hundreds would.
"""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger

from chanserv.errors import ChannelFull

SAY_FULL_EVERY: Final = 10.0
"""Seconds between two warnings that events are refused: an overload refuses
hundreds a second, and its operator needs to hear of it once."""


class Refusals:
    """What has been refused, in the log and in numbers."""

    _log = Logger(namespace="chanserv.server.outlet")

    def __init__(self) -> None:
        self._full = 0
        self._silent_until = 0.0
        self._parked_before = 0
        self._unattended_before = 0

    def say_full(self, error: ChannelFull, now: float) -> None:
        """Warn the operator that clients are refused, but not of each."""
        self._full += 1
        if now < self._silent_until:
            return
        self._silent_until = now + SAY_FULL_EVERY
        refused, self._full = self._full, 0
        self._log.warn(
            "Refused {refused} events of clients since this was last said: {error}. Run more "
            "threads or workers, or see what keeps those that run",
            refused=refused,
            error=str(error),
        )

    def absence_begins(self, parked: int, unattended: int) -> None:
        """The last worker is gone; so many events have been parked and refused before."""
        self._parked_before = parked
        self._unattended_before = unattended

    def absence_ends(self, parked: int, unattended: int) -> tuple[int, int]:
        """
        Workers are back; so many have been parked and refused in all.

        @return: how many of these while no worker was there.
        """
        return parked - self._parked_before, unattended - self._unattended_before
