"""
What goes from the interface server to its layer, gathered into batches.

All that the sockets bring in one turn of the reactor goes to the layer in one
trip: one Deferred, and one write where the layer is a socket itself, for
many requests.  The price is that a message waits for the end of the turn,
which under load is when its answer could be looked at soonest anyway.

A message that finds its channel full may be parked here for a moment, behind
those for the same channel that are parked already, and is tried again when
workers have answered something, or after a short while.  So a burst of more
clients than the channel holds is a wait for them, and not an error.

What a layer refuses because its store is away is not tried again: the clients
hear of it at once.  Only the end of a connection's memberships is, since
nobody else would come back to that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.errors import ChannelFull, ChannelLayerError, LayerUnavailable
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Forget, Operation, SealedMessage, Send
from chanserv.server.absence import Absence
from chanserv.server.limits import Limits
from chanserv.server.parking import Parked, Parking

Sent = Callable[[ChannelLayerError | None], object]
"""Told what became of a send: its error, or L{None}."""

AGAIN_AFTER: Final = 0.05
"""Seconds until parked messages are tried again, where no reply comes in that
would say sooner that a worker has taken something."""

FORGET_AGAIN_AFTER: Final = 5.0
"""Seconds until a layer that was away is told again who has left: by then it is
back, or nobody misses a message for it."""

SAY_FULL_EVERY: Final = 10.0
"""Seconds between two warnings that events are refused: an overload refuses
hundreds a second, and its operator needs to hear of it once."""


class Outlet:
    """
    Sends to a layer at the end of the reactor's turn.

    The order of calls is the order of sends, but for those that are parked.
    """

    _log = Logger()

    def __init__(self, layer: IChannelLayer, clock: IReactorTime, limits: Limits) -> None:
        self._layer = layer
        self._clock = clock
        self._operations: list[Operation] = []
        self._callbacks: list[Sent | None] = []
        self._patient: list[bool] = []
        self._parking: Parking[tuple[Send, Sent | None]] = Parking(
            limits.full_patience, limits.parked_events, limits.parked_bytes
        )
        self._half = limits.parked_events // 2
        self._trying = False
        self._again: IDelayedCall | None = None
        self._absence = Absence()
        self._forget_again: IDelayedCall | None = None
        self._refused = 0
        self._silent_until = 0.0

    def send(
        self,
        channel: str,
        message: SealedMessage,
        receipt: str | None = None,
        sent: Sent | None = None,
        *,
        patient: bool = False,
    ) -> None:
        """
        Put C{message} on C{channel}.

        @param receipt: as for L{IChannelLayer.send}.
        @param sent: is called once with the outcome, never from within this
            call.
        @param patient: whether to park the message where the channel is full,
            for at most C{full_patience} seconds.
        """
        operation = Send(channel, message, receipt)
        if patient and channel in self._parking and self._park(operation, sent):
            return
        self._add(operation, sent, patient)

    def forget(self, channel: str) -> None:
        """End all memberships of C{channel}, whose connection is gone."""
        self._add(Forget(channel), None, False)

    def _add(self, operation: Operation, sent: Sent | None, patient: bool) -> None:
        if not self._operations:
            self._clock.callLater(0, self._flush)
        self._operations.append(operation)
        self._callbacks.append(sent)
        self._patient.append(patient)

    def is_roomy(self) -> bool:
        """
        Whether half of the room for parked messages is free.

        For those that are patient only then: news that nobody may be reading,
        which shall not take the room of what a client waits for.
        """
        return self._parking.events < self._half

    def nudge(self) -> None:
        """Something has come from the layer: there may be room again."""
        if self._parking and not self._trying:
            self._try_again()

    def stop(self) -> None:
        """Try nothing again; what is parked is dropped."""
        if self._again is not None and self._again.active():
            self._again.cancel()
        self._again = None
        self._parking.clear()
        if self._forget_again is not None and self._forget_again.active():
            self._forget_again.cancel()
        self._forget_again = None

    def _flush(self) -> None:
        operations, self._operations = self._operations, []
        callbacks, self._callbacks = self._callbacks, []
        patient, self._patient = self._patient, []

        def arrived(errors: list[ChannelLayerError | None]) -> None:
            for index, error in enumerate(errors):
                sent, operation = callbacks[index], operations[index]
                if error is not None and patient[index] and isinstance(error, ChannelFull):
                    if isinstance(operation, Send) and self._park(operation, sent):
                        continue
                    self._say_full(error)
                if isinstance(error, LayerUnavailable) and isinstance(operation, Forget):
                    self._remember(operation)
                if sent is not None:
                    self._tell(sent, error)

        self._send_batch(operations, arrived)

    def _send_batch(
        self,
        operations: Sequence[Operation],
        arrived: Callable[[list[ChannelLayerError | None]], None],
    ) -> None:
        def answered(errors: list[ChannelLayerError | None]) -> None:
            self._note_absence(errors)
            arrived(errors)

        def failed(failure: Failure) -> None:
            error = failure.value
            if not isinstance(error, ChannelLayerError):
                self._log.failure("The channel layer failed on a batch", failure)
                error = LayerUnavailable(f"the channel layer failed: {error}")
            answered([error] * len(operations))

        self._layer.send_batch(operations).addCallbacks(answered, failed).addErrback(
            lambda failure: self._log.failure("Telling the outcome of a batch failed", failure)
        )

    def _note_absence(self, errors: Sequence[ChannelLayerError | None]) -> None:
        now = self._clock.seconds()
        if None in errors:
            self._absence.taken(now)
        for error in errors:
            if isinstance(error, LayerUnavailable):
                self._absence.refused(error, now)

    def _remember(self, operation: Forget) -> None:
        """Tell the layer later who has left."""
        self._absence.remember(operation.channel)
        if self._forget_again is None or not self._forget_again.active():
            self._forget_again = self._clock.callLater(FORGET_AGAIN_AFTER, self._forget_all)

    def _forget_all(self) -> None:
        for channel in self._absence.recall():
            self.forget(channel)

    def _tell(self, sent: Sent, error: ChannelLayerError | None) -> None:
        try:
            sent(error)
        except Exception:
            self._log.failure("A connection could not take the outcome of its send")

    def _say_full(self, error: ChannelFull) -> None:
        """Warn the operator that clients are refused, but not of each."""
        self._refused += 1
        now = self._clock.seconds()
        if now < self._silent_until:
            return
        self._silent_until = now + SAY_FULL_EVERY
        refused, self._refused = self._refused, 0
        self._log.warn(
            "Refused {refused} events of clients since this was last said: {error}. Run more "
            "threads or workers, or see what keeps those that run",
            refused=refused,
            error=str(error),
        )

    # Parking.

    def _park(self, operation: Send, sent: Sent | None) -> bool:
        """Keep a message for a moment, if there is room."""
        size: int = operation.message.size  # type: ignore[attr-defined]
        now = self._clock.seconds()
        if not self._parking.park(operation.channel, (operation, sent), size, now):
            return False
        if self._again is None and not self._trying:
            self._again = self._clock.callLater(AGAIN_AFTER, self._try_again)
        return True

    def _try_again(self) -> None:
        if self._again is not None and self._again.active():
            self._again.cancel()
        self._again = None
        self._trying = True
        lot = self._parking.take_lot()
        operations = [entry.item[0] for entry in lot]
        self._send_batch(operations, lambda errors: self._tried(lot, errors))

    def _tried(
        self, lot: list[Parked[tuple[Send, Sent | None]]], errors: list[ChannelLayerError | None]
    ) -> None:
        """Keep what was tried in vain, and let go of the rest."""
        self._trying = False
        now = self._clock.seconds()
        refused = [
            isinstance(error, ChannelFull) and now < entry.deadline
            for entry, error in zip(lot, errors, strict=True)
        ]
        self._parking.settle(lot, refused)
        if self._parking:
            delay = AGAIN_AFTER if any(refused) else 0
            self._again = self._clock.callLater(delay, self._try_again)
        for entry, error, again in zip(lot, errors, refused, strict=True):
            sent = entry.item[1]
            if again:
                continue
            if isinstance(error, ChannelFull):
                self._say_full(error)
            if sent is not None:
                self._tell(sent, error)
