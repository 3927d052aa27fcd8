"""
How a team gets its messages from the layer: as many as it has room for, when it has
room, and patiently where the layer is away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.errors import ChannelLayerError
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Delivery
from chanserv.worker.reactor import TeamReactor

FIRST_BACK_OFF: Final = 0.25
"""Seconds before a receive that failed is tried again."""

LONGEST_BACK_OFF: Final = 5.0
"""Seconds that the doubled wait never passes: a layer that is back is used again
before its operator wonders."""


class Intake:
    """
    One team's way to its messages, from one start to the stop after it.

    All methods are called on the reactor's thread.

    @ivar open: whether messages are taken.
    """

    _log: ClassVar = Logger(namespace="chanserv.worker")

    def __init__(
        self,
        layer: IChannelLayer,
        reactor: TeamReactor,
        room: Callable[[], int],
        given: Callable[[list[Delivery]], object],
    ) -> None:
        """
        @param room: says how many messages may be taken now; 0 or less for none.
        @param given: called with those that have come.
        """
        self.open = False
        self._layer = layer
        self._reactor = reactor
        self._room = room
        self._given = given
        self._channels: Sequence[str] = ()
        self._asking = False
        self._receiving: Deferred[list[Delivery]] | None = None
        self._back_off: IDelayedCall | None = None
        self._failed = 0

    @property
    def waits(self) -> bool:
        """Whether the layer has been asked, and has nothing to give so far."""
        return self._receiving is not None

    def begin(self, channels: Sequence[str]) -> None:
        """Take from C{channels}; nothing where there are none."""
        self._channels = channels
        self.open = bool(channels)
        self.ask()

    def ask(self) -> None:
        """Ask the layer for what there is room for, unless it has been asked."""
        if self._asking:
            return
        # A loop, since what is ignored takes no room: a long queue of it, handed
        # out at once, would else be a deep stack.
        self._asking = True
        try:
            while self._may_ask() and (room := self._room()) > 0:
                receiving = self._receiving = self._layer.receive(self._channels, room)
                receiving.addCallbacks(self._received, self._receive_failed).addErrback(self._bug)
        finally:
            self._asking = False

    def end(self) -> None:
        """Take no more."""
        self.open = False
        if self._receiving is not None:
            self._receiving.cancel()
        if self._backing_off():
            assert self._back_off is not None
            self._back_off.cancel()

    def _may_ask(self) -> bool:
        return self.open and self._receiving is None and not self._backing_off()

    def _received(self, deliveries: list[Delivery]) -> None:
        self._receiving = None
        if self._failed:
            self._failed = 0
            self._log.info("The channel layer answers again; taking messages")
        self._given(deliveries)
        self.ask()

    def _receive_failed(self, failure: Failure) -> None:
        self._receiving = None
        if isinstance(failure.value, CancelledError) and not self.open:
            return
        if not self._failed:
            self._say_failed(failure)
        delay = min(FIRST_BACK_OFF * 2.0**self._failed, LONGEST_BACK_OFF)
        self._failed = min(self._failed + 1, 16)
        if self.open:
            self._back_off = self._reactor.callLater(delay, self.ask)

    def _say_failed(self, failure: Failure) -> None:
        if isinstance(failure.value, ChannelLayerError):
            self._log.warn(
                "No messages can be taken from the channel layer: {error}. Trying again "
                "until it answers",
                error=failure.getErrorMessage(),
            )
        else:
            self._log.failure("The channel layer failed to give messages", failure=failure)

    def _backing_off(self) -> bool:
        return self._back_off is not None and self._back_off.active()

    def _bug(self, failure: Failure) -> None:
        self._log.failure("A worker team failed on what it received", failure=failure)
