"""
What an operator hears of events that no worker has finished with.

A worker that dies takes with it whatever it ran, and a store that is gone all
that waited there: hundreds of events in one moment.  The log has one line for
each such moment.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from chanserv.messages import Outcome
from chanserv.server.counts import Counts

GATHERED_FOR: Final = 1.0
"""Seconds from the first event that was not finished to the line about it and all
that followed: long enough for what one death brings, short enough to stand in
the log beside its cause."""


class Losses:
    """Counts the events that were lost or expired, and has the log say so."""

    _log = Logger()

    def __init__(self, counts: Counts, clock: IReactorTime) -> None:
        self._counts = counts
        self._clock = clock
        self._lost = self._expired = 0
        self._call: IDelayedCall | None = None

    def note(self, outcome: object) -> None:
        """An event has a receipt with this outcome."""
        self._counts.unread(outcome)
        if outcome == Outcome.LOST:
            self._lost += 1
        elif outcome == Outcome.EXPIRED:
            self._expired += 1
        else:
            return
        if self._call is None:
            self._call = self._clock.callLater(GATHERED_FOR, self._say)

    def stop(self) -> None:
        """Say now what there is to say."""
        if self._call is not None:
            self._call.cancel()
            self._say()

    def _say(self) -> None:
        self._call = None
        lost, self._lost = self._lost, 0
        expired, self._expired = self._expired, 0
        if lost:
            self._log.warn(
                "{lost} events of clients were lost: their workers went away, or the store of "
                "the channel layer. Requests were answered 502, WebSockets go on with their "
                "next event",
                lost=lost,
            )
        if expired:
            self._log.warn(
                "{expired} events of clients expired: no worker took them in time. Requests "
                "were answered 503, WebSockets closed with 1013. Do workers run?",
                expired=expired,
            )
