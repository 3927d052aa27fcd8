"""
The roll: a group in which each process of a kind stands while it is there.

A process that works joins C{WORKERS_GROUP} with a mailbox of its own.  Whoever
looks at the group then knows whether there are workers, and a message to the
group reaches them all.

The mailbox is what makes the roll true.  Its owner waits on it with one
C{receive}, so that the layer knows whose it is, and ends the membership soon
after a process that has gone without a word.  Nothing else is needed for this:
no message is sent, and no work is done for any message that others send.

A process that waits on its mailbox and has lost its membership all the same, as
after a flush, has it again with the next renewal.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from enum import Enum
from typing import ClassVar, Final

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.core.defaults import WORKERS_GROUP
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Delivery, Message
from chanserv.names import RANDOM_BYTES

RENEW_AFTER: Final = 5.0
"""Seconds between two renewals of a membership, where the layer's group expiry
allows as much: for so long at most a worker is thought to be gone after a flush of
its layer, and one small call in five seconds costs a process nothing."""

RENEWALS: Final = 3
"""How often at least a membership is renewed within the layer's group expiry, so that
one renewal that fails does not end it."""

FIRST_BACK_OFF: Final = 0.25
"""Seconds before what the layer did not do is tried again."""

LONGEST_BACK_OFF: Final = 5.0
"""Seconds that the doubled wait never passes."""

LEAVE_PATIENCE: Final = 1.0
"""Seconds that leaving waits for the layer: what follows is a stop that has better
uses for its time, and the membership ends with the mailbox in any case."""

DELIVERIES: Final = 100
"""Messages taken in one trip."""


class Standing(Enum):
    """How a process stands with its roll."""

    OFF = "off"
    ON = "on"
    """It waits on its mailbox, and is on the roll, or will be when the layer answers."""
    LEAVING = "leaving"
    """It has the layer strike it off."""


class Roll:
    """
    One process's place on a roll.

    All methods are called on the reactor's thread.  What the layer does not do is
    tried again, without a word in the log: others speak there of a layer that is
    away.

    @ivar channel: the channel under which the process stands on the roll; nobody
        else's, and known before it joins, so that somebody who outlives the
        process can strike it off.
    @ivar standing: how it stands.
    """

    _log: ClassVar = Logger()

    def __init__(
        self,
        layer: IChannelLayer,
        clock: IReactorTime,
        group: str = WORKERS_GROUP,
        *,
        name: str = "chanserv.worker",
        on_message: Callable[[Message], object] | None = None,
        rest: float = 0.0,
    ) -> None:
        """
        @param layer: one that keeps a roll; see L{chanserv.layers.reach}.
        @param group: the roll.
        @param name: what the mailbox is named after.
        @param on_message: called with each message that comes for this process.
        @param rest: seconds between taking messages and asking for more, which
            bounds the work that a flood of them makes.
        """
        self._mailbox = f"{name}.{secrets.token_urlsafe(RANDOM_BYTES)}!"
        self.channel = f"{self._mailbox}roll"
        self.standing = Standing.OFF
        self._layer = layer
        self._clock = clock
        self._group = group
        self._on_message = on_message
        self._rest = rest
        self._receiving: Deferred[list[Delivery]] | None = None
        self._calls: dict[Callable[[], None], IDelayedCall] = {}
        self._failed: dict[Callable[[], None], int] = {}

    def join(self) -> None:
        """Stand on the roll as soon as the layer answers; nothing if it does already."""
        if self.standing is Standing.OFF:
            self.standing = Standing.ON
            # In this order, so that the layer knows the owner of what becomes a member.
            self._receive()
            self._renew()

    def leave(self) -> Deferred[None]:
        """
        Leave the roll.

        @return: fires when the layer has struck this process off, or after
            L{LEAVE_PATIENCE} seconds.  It never fails.
        """
        if self.standing is not Standing.ON:
            return succeed(None)
        self.standing = Standing.LEAVING
        for call in self._calls.values():
            call.cancel()
        self._calls.clear()
        self._failed.clear()
        # A renewal that is on its way comes before it: calls keep their order.
        leaving: Deferred[None] = maybeDeferred(
            self._layer.group_discard, self._group, self.channel
        )
        leaving.addTimeout(LEAVE_PATIENCE, self._clock)
        return leaving.addBoth(self._left)

    def _left(self, _: object) -> None:
        # Only now: what is on the roll has an owner.
        self.standing = Standing.OFF
        if self._receiving is not None:
            self._receiving.cancel()

    # The mailbox

    def _receive(self) -> None:
        self._calls.pop(self._receive, None)
        receiving = self._receiving = self._layer.receive([self._mailbox], DELIVERIES)
        receiving.addCallbacks(self._received, self._receive_failed).addErrback(self._bug)

    def _received(self, deliveries: Sequence[Delivery]) -> None:
        self._receiving = None
        self._failed.pop(self._receive, None)
        self._call_later(self._rest, self._receive)
        for delivery in deliveries:
            self._hear(delivery.message)
            delivery.settle()

    def _hear(self, message: Message) -> None:
        if self._on_message is None or self.standing is not Standing.ON:
            return
        try:
            self._on_message(message)
        except Exception:
            self._log.failure("A message to {group} could not be used", group=self._group)

    def _receive_failed(self, failure: Failure) -> None:
        self._receiving = None
        self._try_again(self._receive)

    # The membership

    def _renew(self) -> None:
        self._calls.pop(self._renew, None)
        adding = maybeDeferred(self._layer.group_add, self._group, self.channel)
        adding.addCallbacks(self._renewed, lambda _: self._try_again(self._renew))
        adding.addErrback(self._bug)

    def _renewed(self, _: object) -> None:
        self._failed.pop(self._renew, None)
        self._call_later(min(RENEW_AFTER, self._layer.group_expiry / RENEWALS), self._renew)

    # Both

    def _try_again(self, what: Callable[[], None]) -> None:
        failed = self._failed[what] = min(self._failed.get(what, 0) + 1, 10)
        self._call_later(min(FIRST_BACK_OFF * 2.0 ** (failed - 1), LONGEST_BACK_OFF), what)

    def _call_later(self, seconds: float, what: Callable[[], None]) -> None:
        # What was begun before it left, and ends now that it is back, changes nothing.
        if self.standing is Standing.ON and what not in self._calls:
            self._calls[what] = self._clock.callLater(seconds, what)

    def _bug(self, failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            self._log.failure("The place on the roll {group} is lost", failure, group=self._group)
