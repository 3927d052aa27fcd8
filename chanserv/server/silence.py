"""
When the client of an open WebSocket has been silent for too long: pure code.
"""

from __future__ import annotations

from enum import Enum

from chanserv.server.limits import Limits


class Verdict(Enum):
    """What is to be done about a client."""

    WAIT = "wait"
    PING = "ping"
    GONE = "gone"
    """It does not answer."""
    EXPIRED = "expired"
    """It has been there for as long as any may."""


class Silence:
    """
    What is known of one client's silence.

    @ivar heard: when it was last heard of, on the reactor's clock.
    """

    __slots__ = ("_expires", "_limits", "_pinged", "heard")

    def __init__(self, limits: Limits, now: float, lifetime: float) -> None:
        """@param lifetime: seconds that the socket may be open."""
        self._limits = limits
        self._expires = now + lifetime
        self._pinged = 0.0
        self.heard = now

    @property
    def deadline(self) -> float:
        """When it is next to be judged."""
        if self._pinged:
            return min(self._expires, self._pinged + self._limits.ping_timeout)
        if self._limits.ping_interval:
            return min(self._expires, self.heard + self._limits.ping_interval)
        return self._expires

    def judge(self, now: float, unread: bool) -> Verdict:
        """
        Say what is to be done.

        @param unread: whether it may have answered, and is not read for its workers'
            sake.  Then it is pinged still, as proxies are to see the socket live.
        """
        if now >= self._expires:
            return Verdict.EXPIRED
        limits = self._limits
        if self._pinged and not unread and self.heard < self._pinged:
            return Verdict.GONE if now >= self._pinged + limits.ping_timeout else Verdict.WAIT
        self._pinged = 0.0
        if limits.ping_interval and now >= self.heard + limits.ping_interval:
            self._pinged = now
            return Verdict.PING
        return Verdict.WAIT
