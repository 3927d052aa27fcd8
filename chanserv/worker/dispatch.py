"""
How what consumers sent gets to the layer.

One trip for many runs; then, for the few sends whose channel was full, more
trips until there is room or patience ends.  Nothing is ever dropped unsaid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.errors import ChannelFull, ChannelLayerError
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Delivery, GroupSend, Operation, Outcome, Send
from chanserv.worker.counters import TeamCounters
from chanserv.worker.origin import Origin
from chanserv.worker.reactor import TeamReactor
from chanserv.worker.retries import HeldSend, HeldSends
from chanserv.worker.runs import Run

_NO_PLACE: Final = "its channel is full, and too many messages wait for room already"


class Dispatch:
    """
    Sends what runs left in their outboxes, and settles their messages.

    Methods are called on the reactor's thread.

    @ivar trips: how many trips to the layer are on their way.
    """

    _log: ClassVar = Logger(namespace="chanserv.worker")

    def __init__(
        self,
        layer: IChannelLayer,
        reactor: TeamReactor,
        counters: TeamCounters,
        progress: Callable[[], None],
    ) -> None:
        """
        @param counters: where resends and drops are counted.
        @param progress: called whenever a trip has ended.
        """
        self._layer = layer
        self._reactor = reactor
        self._counters = counters
        self._progress = progress
        self._held = HeldSends()
        self._timer: IDelayedCall | None = None
        self._given_up = False
        self.trips = 0

    @property
    def idle(self) -> bool:
        """Whether everything has been sent, or dropped."""
        return not self.trips and not self._held.count

    def send(self, runs: Sequence[Run], settled: Sequence[Delivery]) -> None:
        """
        Send what C{runs} produced, then settle, in one trip.

        @param settled: the messages that are finished with.
        """
        operations: Sequence[Operation]
        if self._held.count:
            operations = self._stand_in_line(runs)
        elif len(runs) == 1:
            operations = runs[0].outbox.operations
        else:
            operations = [one for run in runs for one in run.outbox.operations]
        if not operations and not settled:
            return
        self.trips += 1
        self._layer.send_batch(operations, settled).addCallbacks(
            self._sent, self._failed, (operations, runs), {}, (operations, runs, settled)
        ).addErrback(self._bug)

    def give_up(self) -> None:
        """Drop what still waits for a channel to have room."""
        self._given_up = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for held in self._held.clear():
            self._drop(held.send, held.origin, "this worker has stopped")

    def _stand_in_line(self, runs: Sequence[Run]) -> list[Operation]:
        """Hold back what must not overtake a send that waits; return the rest."""
        free: list[Operation] = []
        now = self._reactor.seconds()
        for run in runs:
            for one in run.outbox.operations:
                if not isinstance(one, Send) or not self._held.blocks(one.channel):
                    free.append(one)
                elif not self._held.hold(one, run.origin, now):
                    self._drop(one, run.origin, _NO_PLACE)
        return free

    def _sent(
        self,
        errors: Sequence[ChannelLayerError | None],
        operations: Sequence[Operation],
        runs: Sequence[Run],
    ) -> None:
        self.trips -= 1
        for operation, error in zip(operations, errors, strict=True):
            if error is not None:
                self._refused(operation, error, _origin(operation, runs))
        self._progress()

    def _failed(
        self,
        failure: Failure,
        operations: Sequence[Operation],
        runs: Sequence[Run],
        settled: Sequence[Delivery],
    ) -> None:
        """
        The trip failed as a whole.  Whether the layer has taken any of it cannot
        be known, and a message goes out at most once, so nothing is tried again.
        Whoever waits for an answer shall hear that there may be none.
        """
        self.trips -= 1
        for delivery in settled:
            delivery.settle(Outcome.LOST)
        self._counters.sends_dropped += len(operations)
        if isinstance(failure.value, ChannelLayerError):
            self._log.warn(
                "{count} messages sent by {consumers} were lost: {error}",
                count=len(operations),
                consumers=", ".join(sorted({run.consumer for run in runs})),
                error=failure.getErrorMessage(),
            )
        else:
            self._log.failure("The channel layer failed to take a batch", failure=failure)
        self._progress()

    def _refused(self, operation: Operation, error: ChannelLayerError, origin: Origin) -> None:
        """One operation was not done: keep it for another try, or drop it."""
        if self._given_up or not isinstance(operation, Send) or not isinstance(error, ChannelFull):
            self._drop(operation, origin, str(error))
        elif self._held.hold(operation, origin, self._reactor.seconds()):
            self._schedule()
        else:
            self._drop(operation, origin, _NO_PLACE)

    def _schedule(self) -> None:
        due = self._held.next_due()
        if due is None:
            return
        if self._timer is not None and self._timer.active():
            if self._timer.getTime() <= due:
                return
            self._timer.cancel()
        self._timer = self._reactor.callLater(
            max(0.0, due - self._reactor.seconds()), self._try_again
        )

    def _try_again(self) -> None:
        taken = self._held.take_due(self._reactor.seconds())
        if not taken:
            self._schedule()
            return
        self._counters.resends += len(taken)
        self.trips += 1
        self._layer.send_batch([held.send for held in taken]).addCallbacks(
            self._tried, self._try_failed, (taken,), {}, (taken,)
        ).addErrback(self._bug)

    def _try_failed(self, failure: Failure, taken: Sequence[HeldSend]) -> None:
        error = failure.value
        why = error if isinstance(error, Exception) else RuntimeError(repr(error))
        self._tried([why] * len(taken), taken)

    def _tried(self, errors: Sequence[Exception | None], taken: Sequence[HeldSend]) -> None:
        self.trips -= 1
        if not self._given_up:
            for held, error in self._held.tried(taken, errors, self._reactor.seconds()):
                self._drop(held.send, held.origin, str(error))
            self._schedule()
        self._progress()

    def _drop(self, operation: Operation, origin: Origin, why: str) -> None:
        self._counters.sends_dropped += 1
        self._log.warn(
            "A message for {target}, sent by {consumer}" + origin.note + ", was dropped: {why}",
            target=_target(operation),
            why=why,
            **origin.fields,
        )

    def _bug(self, failure: Failure) -> None:
        self._log.failure("A worker failed to follow up what it sent", failure=failure)


def _origin(operation: Operation, runs: Sequence[Run]) -> Origin:
    """Find who sent C{operation}, for logs."""
    for run in runs:
        if any(one is operation for one in run.outbox.operations):
            return run.origin
    return Origin("a consumer")


def _target(operation: Operation) -> str:
    if isinstance(operation, GroupSend):
        return f"group {operation.group!r}"
    return f"channel {operation.channel!r}"
