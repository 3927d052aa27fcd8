"""What a team counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TeamCounters:
    """
    What a team has done since it was made.

    Written on the reactor's thread; any thread may read.

    @ivar runs: consumers run to their end, however that was.
    @ivar ignored: messages on channels whose consumer does nothing.
    @ivar failures: of these, how many raised.
    @ivar expired: messages taken ahead that no thread was free for in time.
    @ivar postponed: how often a consumer asked for its message again later.
    @ivar dropped: messages that were put off too often, and dropped.
    @ivar resends: how often a send to a full channel was tried again.
    @ivar sends_dropped: sends that never reached their channel.
    """

    runs: int = 0
    ignored: int = 0
    failures: int = 0
    expired: int = 0
    postponed: int = 0
    dropped: int = 0
    resends: int = 0
    sends_dropped: int = 0
