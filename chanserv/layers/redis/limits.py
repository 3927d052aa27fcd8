"""The bounds of connections, and how long they wait before they try again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chanserv.errors import ChannelLayerError
from chanserv.layers.redis.held import MAX_WAITING, PATIENCE
from chanserv.layers.redis.protocol import MAX_UNANSWERED, MAX_UNSENT
from chanserv.layers.redis.refusals import Refused
from chanserv.layers.redis.server import Server

RETURN_SPREAD: Final = 0.1
"""Seconds over which the processes of a site spread their first attempt after a loss."""

FIRST_BACK_OFF: Final = 0.1
"""Seconds before the attempt after the first that failed."""

LONGEST_BACK_OFF: Final = 5.0
"""Seconds that the doubled wait never passes: a server that is back is used again before
its operator wonders."""

LONGEST_WATCHED_BACK_OFF: Final = 1.0
"""The same for a server with sentinels, which another one replaces: to ask them costs
little, and is how the change is noticed."""

REFUSED_BACK_OFF: Final = 10.0
"""Seconds before the next attempt where the server refused the last, for a wrong password
say: until somebody has mended that, each is only a line in its log."""

STEADY: Final = 1.0
"""Seconds that a connection must have been up for its loss to be news: one that is lost
sooner counts as an attempt that failed, and the next waits as long."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that closing waits for what is still unsent."""


@dataclass(frozen=True)
class Limits:
    """
    The bounds of a connection: each is said above, in C{held} or in C{protocol}.

    @ivar longest_back_off: L{None} for what suits the server.
    """

    patience: float = PATIENCE
    max_waiting: int = MAX_WAITING
    longest_back_off: float | None = None
    refused_back_off: float = REFUSED_BACK_OFF
    max_unanswered: int = MAX_UNANSWERED
    max_unsent: int = MAX_UNSENT


DEFAULT_LIMITS: Final = Limits()
"""The bounds as said."""


def back_off(
    server: Server, limits: Limits, failures: int, error: ChannelLayerError, random: float
) -> float:
    """
    Seconds until the next attempt.

    @param failures: how many attempts in a row have failed, 1 or more.
    @param error: how the last did.
    @param random: from 0 to 1; processes that failed together come back apart.
    """
    if isinstance(error, Refused) and error.lasting:
        wait = limits.refused_back_off
    else:
        longest = limits.longest_back_off
        if longest is None:
            longest = LONGEST_BACK_OFF if server.watched is None else LONGEST_WATCHED_BACK_OFF
        # The power has a bound of its own, or it would not be a float in a year.
        wait = min(FIRST_BACK_OFF * 2.0 ** min(failures - 1, 16), longest)
    return wait * (0.5 + 0.5 * random)
