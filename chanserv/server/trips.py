"""
Trips to the channel layer, and what they show of it.

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

from chanserv.errors import ChannelLayerError, LayerUnavailable
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Forget, Operation
from chanserv.server.absence import Absence

FORGET_AGAIN_AFTER: Final = 5.0
"""Seconds until a layer that was away is told again who has left: by then it is
back, or nobody misses a message for it."""


class Trips:
    """
    Takes batches to a layer.

    @ivar under_way: how many have had no answer yet.
    """

    _log = Logger(namespace="chanserv.server.outlet")

    def __init__(
        self, layer: IChannelLayer, clock: IReactorTime, forget: Callable[[str], None]
    ) -> None:
        """@param forget: ends the memberships of a channel, on one of the next trips."""
        self._layer = layer
        self._clock = clock
        self._forget = forget
        self._absence = Absence()
        self._again: IDelayedCall | None = None
        self._stopped = False
        self.under_way = 0

    def start(self) -> None:
        """Begin, or begin anew."""
        self._stopped = False

    def stop(self) -> None:
        """Try nothing again."""
        self._stopped = True
        if self._again is not None and self._again.active():
            self._again.cancel()
        self._again = None

    def send(
        self,
        operations: Sequence[Operation],
        arrived: Callable[[list[ChannelLayerError | None]], None],
    ) -> None:
        """
        Take C{operations} to the layer.

        @param arrived: is called with the error of each, or L{None}.
        """

        def answered(errors: list[ChannelLayerError | None]) -> None:
            self.under_way -= 1
            self._note(operations, errors)
            arrived(errors)

        def failed(failure: Failure) -> None:
            error = failure.value
            if not isinstance(error, ChannelLayerError):
                self._log.failure("The channel layer failed on a batch", failure)
                error = LayerUnavailable(f"the channel layer failed: {error}")
            answered([error] * len(operations))

        self.under_way += 1
        self._layer.send_batch(operations).addCallbacks(answered, failed).addErrback(
            lambda failure: self._log.failure("Telling the outcome of a batch failed", failure)
        )

    def _note(
        self, operations: Sequence[Operation], errors: Sequence[ChannelLayerError | None]
    ) -> None:
        """See whether the layer is away, and who has left meanwhile."""
        now = self._clock.seconds()
        if None in errors:
            self._absence.taken(now)
        for operation, error in zip(operations, errors, strict=True):
            if isinstance(error, LayerUnavailable):
                self._absence.refused(error, now)
                if isinstance(operation, Forget):
                    self._remember(operation.channel)

    def _remember(self, channel: str) -> None:
        """Tell the layer later who has left."""
        if self._stopped:
            return
        self._absence.remember(channel)
        if self._again is None or not self._again.active():
            self._again = self._clock.callLater(FORGET_AGAIN_AFTER, self._forget_all)

    def _forget_all(self) -> None:
        for channel in self._absence.recall():
            self._forget(channel)
