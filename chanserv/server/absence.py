"""
What an operator hears of a channel layer that is away, and what is made up for
when it is back.

Under load a layer that is away refuses hundreds of events a second.  The log has
one line when that begins and one when it is over; the counts have them all.
"""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger

CALM: Final = 5.0
"""Seconds without a refusal after which a layer is taken to be back.  With one
of several shards away some events are refused and others taken, for as long as
that lasts: it is one absence."""

MAX_UNFORGOTTEN: Final = 100_000
"""Connections that ended while the layer was away and whose memberships are
still to be ended, some 15 MB of names.  What is above that stays in its groups
until these expire, and costs a look-up for each message."""


class Absence:
    """
    Whether the layer takes what it is given, and who left while it did not.

    @ivar unforgotten: the channels whose memberships the layer could not be
        told to end.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.unforgotten: dict[str, None] = {}
        self._refused = 0
        self._last = 0.0

    def refused(self, error: Exception, now: float) -> None:
        """An event was not taken, since the store is away."""
        if not self._refused:
            self._log.warn(
                "The channel layer takes no events: {error}. Until it does, requests and "
                "handshakes are answered 503, and WebSockets with something to say closed "
                "with 1013",
                error=str(error),
            )
        self._refused += 1
        self._last = now

    def taken(self, now: float) -> None:
        """Events were taken."""
        if self._refused and now >= self._last + CALM:
            refused, self._refused = self._refused, 0
            self._log.info(
                "The channel layer takes events again; it refused {refused}", refused=refused
            )

    def remember(self, channel: str) -> None:
        """Keep a channel whose memberships are still to be ended."""
        if len(self.unforgotten) < MAX_UNFORGOTTEN:
            self.unforgotten[channel] = None

    def recall(self) -> list[str]:
        """Take all that were kept, to be tried again."""
        channels = list(self.unforgotten)
        self.unforgotten.clear()
        return channels
