"""
Whether the channel layer answers, and how soon.

It is asked every few seconds, and when somebody wants to know who does not believe an
older answer.  There is never more than one question on its way, however many wait for
the answer.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.errors import LayerUnavailable
from chanserv.interfaces import IChannelLayer

PULSE_EVERY: Final = 5.0
"""Seconds between two questions that nobody has asked for: some for each scrape, so
that a histogram of them shows what one look every quarter of a minute would miss."""

ANSWER_LASTS: Final = 1.0
"""Seconds for which an answer is believed: load balancers that ask all at once cost the
layer one question."""

PATIENCE: Final = 2.0
"""Seconds for which an answer is waited for: less than what any of those who ask for
C{/readyz} would wait."""

BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Upper bounds, in seconds, by which the times are sorted: from what a layer on the same
machine takes to where L{PATIENCE} ends."""


@dataclass(slots=True)
class RoundTrips:
    """
    How long the layer's answers took.

    @ivar count: how many there were.
    @ivar seconds: how long they took in all.
    @ivar buckets: how many took at most each of L{BUCKETS}, and more than that bound
        before it; the last is for all longer ones.
    """

    count: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))

    def add(self, seconds: float) -> None:
        """Count one."""
        self.count += 1
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS, seconds)] += 1

    def copy(self) -> RoundTrips:
        """The same, as it is now."""
        return replace(self, buckets=self.buckets[:])


class Pulse(Service):
    """
    Asks the layer how it is.

    Methods are called on the reactor's thread.

    @ivar round_trips: the times of all answers so far.
    @ivar problem: why the layer cannot be used, as of the last answer; empty where
        it can, and before the first.
    """

    _log: ClassVar = Logger(namespace="chanserv")

    def __init__(self, layer: IChannelLayer, clock: IReactorTime) -> None:
        self.round_trips = RoundTrips()
        self.problem = ""
        self._layer = layer
        self._clock = clock
        self._asked: float | None = None
        self._answered: float | None = None
        self._waiting: list[Deferred[str]] = []
        self._patience: IDelayedCall | None = None
        self._next: IDelayedCall | None = None

    def startService(self) -> None:
        """Begin to ask by itself."""
        super().startService()  # type: ignore[no-untyped-call]
        self._beat()

    def stopService(self) -> None:
        """Ask no more.  Whoever waits for an answer is told what is known."""
        super().stopService()  # type: ignore[no-untyped-call]
        for call in (self._next, self._patience):
            if call is not None and call.active():
                call.cancel()
        self._tell()

    def check(self) -> Deferred[str]:
        """
        Ask, unless that has just been done.

        @return: fires within L{PATIENCE} with why the layer cannot be used, in a line;
            with nothing where it can.  It does not fail.
        """
        now = self._clock.seconds()
        if self._answered is not None and 0 <= now - self._answered < ANSWER_LASTS:
            return succeed(self.problem)
        if self._asked is None:
            self._ask(now)
        elif self._patience is None:
            self.problem = self._silence(now - self._asked)
            return succeed(self.problem)
        if self._patience is None:
            # It has answered at once.
            return succeed(self.problem)
        waiting = Deferred[str]()
        self._waiting.append(waiting)
        return waiting

    def _beat(self) -> None:
        self._next = self._clock.callLater(PULSE_EVERY, self._beat)
        self.check().addErrback(self._bug)

    def _ask(self, now: float) -> None:
        self._asked = now
        self._patience = self._clock.callLater(PATIENCE, self._too_long)
        maybeDeferred(self._layer.global_statistics).addCallbacks(
            lambda _: self._has_answered(), self._has_failed
        ).addErrback(self._bug)

    def _has_answered(self) -> None:
        if self._asked is not None:
            self.round_trips.add(max(self._clock.seconds() - self._asked, 0.0))
        self._know("")

    def _has_failed(self, failure: Failure) -> None:
        if isinstance(failure.value, LayerUnavailable):
            self._know(f"the channel layer cannot be reached: {failure.getErrorMessage()}")
        else:
            # A layer need not have statistics: to say so, it need be there.
            self._know("")

    def _know(self, problem: str) -> None:
        self.problem, self._asked, self._answered = problem, None, self._clock.seconds()
        patience, self._patience = self._patience, None
        if patience is not None and patience.active():
            patience.cancel()
        self._tell()

    def _too_long(self) -> None:
        # The question stays on its way: what comes of it is the answer, in the end.
        self._patience = None
        self.problem = self._silence(PATIENCE)
        self._tell()

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(self.problem)

    def _silence(self, seconds: float) -> str:
        return f"the channel layer has not answered for {max(seconds, PATIENCE):.0f} s"

    def _bug(self, failure: Failure) -> None:
        self._log.failure("The state of the channel layer cannot be told", failure=failure)
