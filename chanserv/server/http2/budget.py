"""
What a client may spend: pure code.

Some frames cost the server work and bring nobody forward: a stream that is
opened and reset at once, a ping, an empty piece of a body.  Real clients send
some of them, and now and then many together, so what they may send is a budget
that fills up again with time.  Whoever has spent it is told to be calm, and
disconnected.

The known ways to abuse each of them: CVE-2023-44487 (resets), CVE-2019-9512
(pings), CVE-2019-9515 (settings), CVE-2019-9518 (empty frames), CVE-2019-9511
(windows opened byte by byte).
"""

from __future__ import annotations

from typing import Final

from chanserv.server.http2.frames import ACK, END_STREAM, HEADER, Frame, Kind

REFILL: Final = 30.0
"""Seconds in which an empty budget is full again."""

SETTINGS_A_TOKEN: Final = 10
"""Settings in one frame that cost as much as a frame: each takes a microsecond,
and a frame has room for thousands."""

SENT_A_TOKEN: Final = 256
"""Bytes of responses for which a client may send one frame more, to make room for
the next ones.  Clients do so twice for every 16 KB, and those with a window of a
kilobyte, which is all that a small device may have, for every half of it."""

_SETTING: Final = 6
"""Bytes of one setting."""


class Budget:
    """
    Tokens, of which there are never more than at the start.
    """

    __slots__ = ("_full", "_left", "_since")

    def __init__(self, tokens: int, now: float) -> None:
        """@param now: the time, in seconds."""
        self._full = float(tokens)
        self._left = self._full
        self._since = now

    def spend(self, tokens: float, now: float) -> bool:
        """
        Take C{tokens} out.

        @return: whether they were there.
        """
        # A clock that is set back fills nothing.
        elapsed = max(0.0, now - self._since)
        self._since = now
        self._left = min(self._full, self._left + elapsed * self._full / REFILL) - tokens
        return self._left >= 0

    def earn(self, tokens: float) -> None:
        """Put C{tokens} in, as far as there is room for them."""
        self._left = min(self._full, self._left + tokens)


def cost(frame: Frame) -> float:
    """
    What a frame takes out of the budget for control frames.

    Resets have a budget of their own.
    """
    match frame.kind:
        case Kind.HEADERS | Kind.CONTINUATION | Kind.RST_STREAM:
            return 0
        case Kind.DATA:
            empty = frame.length == 0 and not frame.flags & END_STREAM
            return 1 if empty else 0
        case Kind.SETTINGS if not frame.flags & ACK:
            return 1 + (len(frame.data) - HEADER) / (_SETTING * SETTINGS_A_TOKEN)
        case _:
            return 1
