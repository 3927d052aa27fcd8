"""
Whether any worker is there to take what the interface server sends.

Each worker stands on a roll, the group L{WORKERS_GROUP}, for as long as it takes
messages.  The server looks at it each second.  As soon as the last one is gone, by
its own word or since its layer found it dead, events are held at the server; as
soon as one is back they go out.

Until the first worker is seen nobody knows whether the workers of this site use the
roll at all: those of the old stack do not, and must be served as ever.  So events
are held only where there has been a worker, and is none.

A layer that does not answer says nothing about workers: what was known stays known.
That a layer is away is L{chanserv.server.absence}'s to say.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.core.defaults import WORKERS_GROUP
from chanserv.interfaces import IChannelLayer
from chanserv.server.outlet import Outlet

LOOK_EVERY: Final = 1.0
"""Seconds between two looks while there are workers: what is sent in between stands
on the layer, as it always did."""

LOOK_SOON: Final = 0.2
"""Seconds between two looks while there are none: so much longer than it needs to
is the wait of a client."""

LOOK_TIMEOUT: Final = 10.0
"""Seconds after which a look without an answer is given up, and the next one
begins."""


class Presence(Enum):
    """What is known of workers."""

    UNWATCHED = "unwatched"
    """Nobody looks: they are in this very process, or there is no roll."""
    UNSEEN = "unseen"
    """None has been seen yet."""
    PRESENT = "present"
    ABSENT = "absent"
    """There was one, and there is none."""


class Attendance:
    """
    Looks at the roll, and has events held while there is nobody on it.

    @ivar presence: see L{Presence}.
    """

    _log = Logger()

    def __init__(self, layer: IChannelLayer, clock: IReactorTime, outlet: Outlet) -> None:
        self._layer = layer
        self._clock = clock
        self._outlet = outlet
        self._look: Deferred[list[str]] | None = None
        self._call: IDelayedCall | None = None
        self._absent_since = 0.0
        self.presence = Presence.UNWATCHED

    @property
    def workers_present(self) -> bool | None:
        """Whether there are workers; L{None} where that is not known."""
        return {Presence.PRESENT: True, Presence.ABSENT: False}.get(self.presence)

    def start(self) -> None:
        """Begin to look."""
        if self.presence is Presence.UNWATCHED:
            self.presence = Presence.UNSEEN
            self._outlet.doubtful = bool(self._layer.settles)
            self._ask()

    def stop(self) -> None:
        """Look no more; nothing is held any longer on this account."""
        self.presence = Presence.UNWATCHED
        self._outlet.doubtful = False
        if self._call is not None:
            self._call.cancel()
            self._call = None
        look, self._look = self._look, None
        if look is not None:
            look.cancel()

    def _ask(self) -> None:
        self._call = None
        look = self._look = maybeDeferred(self._layer.group_channels, WORKERS_GROUP)
        look.addTimeout(LOOK_TIMEOUT, self._clock)
        look.addCallbacks(self._saw, self._saw_nothing).addErrback(
            lambda failure: self._log.failure("A look at the roll of workers failed", failure)
        ).addBoth(self._again, look)

    def _again(self, _: object, look: Deferred[list[str]]) -> None:
        if self._look is look and self.presence is not Presence.UNWATCHED:
            self._look = None
            pause = LOOK_SOON if self.presence is Presence.ABSENT else LOOK_EVERY
            self._call = self._clock.callLater(pause, self._ask)

    def _saw(self, workers: list[str]) -> None:
        match self.presence, bool(workers):
            case ((Presence.UNSEEN | Presence.ABSENT), True):
                self._came()
            case Presence.PRESENT, False:
                self._went()

    def _saw_nothing(self, failure: Failure) -> None:
        """The layer does not say; whoever sends to it hears why."""

    def _came(self) -> None:
        were_absent = self.presence is Presence.ABSENT
        self.presence = Presence.PRESENT
        self._outlet.doubtful = False
        if not were_absent:
            self._log.info("The first worker is there; from now on it is noticed when none is")
        else:
            waited, refused = self._outlet.release()
            self._log.info(
                "Workers are there again after {seconds:.1f} s; {waited} events of clients "
                "waited for them, and {refused} were refused",
                seconds=self._clock.seconds() - self._absent_since,
                waited=waited,
                refused=refused,
            )

    def _went(self) -> None:
        self.presence = Presence.ABSENT
        self._absent_since = self._clock.seconds()
        self._outlet.hold()
        self._log.warn(
            "No worker is there any more. Until one is, requests, handshakes and messages of "
            "WebSockets wait at this server, for as long as --park-seconds says and as many as "
            "--park-messages; then they are answered 503, or closed with 1013"
        )
