"""
The receives of one process: those that wait, and what comes for them.

A receive that is cancelled may have its messages on their way already.  They are
kept until the hub is known to have heard of it.  Whoever receives from their
mailbox within this process until then gets them; after that they go back to the
front of it.  Either way who reads a mailbox alone gets its messages in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.codec import Codec
from chanserv.core.mirror import Change, Mirror
from chanserv.errors import CorruptMessage, LayerUnavailable
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.hub_store import RECEIPT_BODIES
from chanserv.messages import Delivery, Outcome
from chanserv.names import mailbox_of

_RECEIPTS: Final = frozenset(body.data for body in RECEIPT_BODIES.values())
_LONGEST_RECEIPT: Final = max(map(len, _RECEIPTS))


class Waiting:
    """
    One receive.

    @ivar is_glance: whether it is content with nothing.
    """

    __slots__ = ("channels", "deferred", "is_glance", "limit", "number")

    def __init__(self, number: int, channels: tuple[str, ...], limit: int, is_glance: bool) -> None:
        self.number = number
        self.channels = channels
        self.limit = limit
        self.is_glance = is_glance
        self.deferred: Deferred[list[Delivery]] | None = None

    def fire(self, result: list[Delivery] | Failure) -> None:
        """Hand over; the two let go of each other."""
        deferred, self.deferred = self.deferred, None
        if deferred is not None:
            deferred.callback(result)


class Inbox:
    """
    See the module.  It is the L{Sink<chanserv.layers.ipc.sessions.Sink>} of its
    process.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        codec: Codec,
        tell: Callable[..., None],
        post: Callable[[wire.Operation], Deferred[Any]],
        answered: Callable[[str], None],
        flushed: Callable[[], None],
    ) -> None:
        """
        @param clock: measures how long memberships last while there is no hub.
        @param tell: sends an operation to the hub, if there is one; see
            L{Link.tell<chanserv.layers.ipc.links.Link.tell>}.
        @param post: has an operation done, when there is a hub; see
            L{Desk.post<chanserv.layers.ipc.desk.Desk.post>}.
        @param answered: called with the channel of each receipt that comes.
        @param flushed: called when the hub has been flushed.
        """
        self._clock = clock
        self._codec = codec
        self._tell = tell
        self._post = post
        self._answered = answered
        self._flushed = flushed
        self._last = 0
        self._waiting: dict[int, Waiting] = {}
        self._mirrors: dict[str, Mirror] = {}
        # Leases are those of one hub.
        self._era = 0
        self._settling: list[tuple[int, int]] | None = None
        self._ahead = 0.0
        self._has_hub = False
        # Messages that came for receives that were cancelled, in their order,
        # and how many such receives the hub may not know of yet.
        self._kept: list[Sequence[Any]] = []
        self._withdrawn = 0
        self._quiet: Deferred[None] | None = None
        # Those of them that are on their way back to the hub.
        self._given_back = 0

    # Receiving

    def receive(
        self, channels: tuple[str, ...], limit: int, is_glance: bool = False
    ) -> Deferred[list[Delivery]]:
        """
        Ask the hub for messages.

        @param channels: checked names.
        @param is_glance: not to wait for any.
        """
        self._last += 1
        waiting = Waiting(self._last, tuple(dict.fromkeys(channels)), limit, is_glance)
        if self._kept:
            deliveries = self._opened(self._take_kept(waiting), self._hub_time())
            if deliveries:
                return succeed(deliveries)
        deferred: Deferred[list[Delivery]] = Deferred(lambda _: self._cancel(waiting))
        waiting.deferred = deferred
        self._ask(waiting)
        return deferred

    def deliver(self, number: int, now: float, items: Sequence[Sequence[Any]]) -> None:
        """See L{Sink<chanserv.layers.ipc.sessions.Sink>}."""
        self._ahead = now - self._clock.seconds()
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            self._kept += items
            self._hand_on(now)
            return
        deliveries = self._opened(items, now)
        if deliveries:
            waiting.fire(deliveries)
        else:
            # For members that have left: nothing that concerns anyone here.
            self._ask(waiting)

    def _ask(self, waiting: Waiting) -> None:
        self._waiting[waiting.number] = waiting
        arguments = (waiting.number, waiting.channels, waiting.limit)
        if waiting.is_glance:
            self._post((wire.RECEIVE_NOW, *arguments)).addBoth(self._glanced, waiting)
        else:
            self._tell((wire.RECEIVE, *arguments))

    def _glanced(self, result: Any, waiting: Waiting) -> None:
        """What there was has been delivered by now."""
        if self._waiting.get(waiting.number) is waiting:
            del self._waiting[waiting.number]
            waiting.fire(result if isinstance(result, Failure) else [])

    def _cancel(self, waiting: Waiting) -> None:
        waiting.deferred = None
        if self._waiting.pop(waiting.number, None) is not None:
            self._withdraw(waiting)

    # What came for a receive that was cancelled

    def _withdraw(self, waiting: Waiting) -> None:
        """Tell the hub that C{waiting} does not, and note when that has arrived."""
        if not self._has_hub:
            return
        self._withdrawn += 1
        answer: Deferred[Any] = Deferred()
        answer.addBoth(self._withdrawal_done, self._era)
        self._tell((wire.CANCEL, waiting.number), answer=answer)

    def _withdrawal_done(self, result: object, era: int) -> None:
        if era != self._era:
            return
        self._withdrawn -= 1
        # A connection that fails would take with it what it is given back: that
        # is for the next.
        if not isinstance(result, Failure):
            self._give_back()
        self._see_whether_quiet()

    def _hand_on(self, now: float) -> None:
        """Give what is kept to those who wait for it."""
        for waiting in list(self._waiting.values()):
            if waiting.number not in self._waiting:
                # Cancelled by what the one before it set off.
                continue
            deliveries = self._opened(self._take_kept(waiting), now)
            if deliveries:
                del self._waiting[waiting.number]
                self._withdraw(waiting)
                waiting.fire(deliveries)
        self._give_back()

    def _take_kept(self, waiting: Waiting) -> list[Sequence[Any]]:
        """Those of the kept messages that C{waiting} may have."""
        taken: list[Sequence[Any]] = []
        others: list[Sequence[Any]] = []
        for item in self._kept:
            wanted = len(taken) < waiting.limit and mailbox_of(item[1][0]) in waiting.channels
            (taken if wanted else others).append(item)
        self._kept = others
        return taken

    def _give_back(self) -> None:
        """
        Put what nobody here waits for back to the front of its mailbox.

        Only when nothing more can be on its way to receives that were cancelled:
        that would have to come after this.
        """
        if self._withdrawn or not self._has_hub:
            return
        kept, self._kept = self._kept, []
        # From the last to the first, for each goes to the very front; and one by
        # one, for their weight.
        for item in reversed(kept):
            self._given_back += 1
            answer: Deferred[Any] = Deferred()
            answer.addBoth(self._is_back, self._era)
            self._tell((wire.GIVE_BACK, item), len(item[2]) + 100, answer)

    def _is_back(self, _result: object, era: int) -> None:
        if era == self._era:
            self._given_back -= 1

    def _opened(self, items: Iterable[Sequence[Any]], now: float) -> list[Delivery]:
        deliveries = []
        for _, recipients, body, lease in items:
            if len(recipients) > 1:
                mailbox, group, number = recipients
                mirror = self._mirrors.get(mailbox)
                recipients = mirror.recipients(group, number, now) if mirror is not None else ()
            elif len(body) <= _LONGEST_RECEIPT and body in _RECEIPTS:
                self._answered(recipients[0])
            settler = partial(self._settle, self._era, lease) if lease else None
            try:
                message = self._codec.decode(body)
            except CorruptMessage as error:
                self._log.warn(
                    "A message for {channel} cannot be read, and is lost: {error}",
                    channel=recipients[:1],
                    error=error,
                )
                recipients = ()
            if recipients:
                deliveries.append(Delivery(recipients, message, settler))
            elif settler is not None:
                settler(Outcome.EXPIRED)
        return deliveries

    # Settling

    def _settle(self, era: int, lease: int, outcome: Outcome) -> None:
        if era != self._era:
            # The hub that knew of it is gone; its sender has been told.
            return
        settled = (lease, wire.OUTCOME_INDEX[outcome])
        if self._settling is not None:
            self._settling.append(settled)
        else:
            self._tell((wire.SETTLE, [settled]))

    def settled(self, deliveries: Iterable[Delivery]) -> list[tuple[int, int]]:
        """Settle each delivery, and return the leases for one operation."""
        before, self._settling = self._settling, []
        try:
            for delivery in deliveries:
                delivery.settle()
            return self._settling
        finally:
            self._settling = before

    # Members

    def change(self, mailbox: str, flags: int, changes: Iterable[Sequence[Any]]) -> None:
        """See L{Sink<chanserv.layers.ipc.sessions.Sink>}."""
        if flags & wire.GONE:
            self._mirrors.pop(mailbox, None)
            return
        mirror = self._mirrors.get(mailbox)
        if mirror is None:
            mirror = self._mirrors[mailbox] = Mirror()
        if flags & wire.RESET:
            mirror.clear()
        mirror.note(Change(*one) for one in changes)
        # The hub holds no older message; but here may be some, or on their way back.
        if flags & wire.DRAINED and not self._kept and not self._given_back:
            mirror.catch_up()

    def roster(self, count: int) -> None:
        """See L{Sink<chanserv.layers.ipc.sessions.Sink>}: of use to guests only."""

    def load(self, count: int) -> None:
        """See L{Sink<chanserv.layers.ipc.sessions.Sink>}: of use to guests only."""

    def flushed(self) -> None:
        """See L{Sink<chanserv.layers.ipc.sessions.Sink>}."""
        self._flushed()

    def owns_mailboxes(self) -> bool:
        """Whether this process is the last that received from some mailbox."""
        return bool(self._mirrors)

    def memberships(self) -> dict[str, list[tuple[str, str, float]]]:
        """
        What a new hub is to know of this process: for each of its mailboxes
        (group, channel, seconds left).
        """
        now = self._hub_time()
        return {
            mailbox: [
                (group, channel, until - now) for group, channel, until in mirror.memberships(now)
            ]
            for mailbox, mirror in self._mirrors.items()
        }

    # The hub

    def hub_found(self, now: float) -> None:
        """
        There is a new hub: ask it for all that is waited for.

        @param now: its time.
        """
        self._era += 1
        self._has_hub = True
        self._ahead = now - self._clock.seconds()
        self._give_back()
        for waiting in list(self._waiting.values()):
            if not waiting.is_glance:
                self._ask(waiting)

    def hub_lost(self) -> None:
        """The hub is gone, and all leases with it."""
        self._era += 1
        self._has_hub = False
        self._withdrawn = self._given_back = 0
        # Who sent what was on lease has been told that it is lost.
        self._kept = [item for item in self._kept if not item[3]]
        self._see_whether_quiet()

    def close(self, error: LayerUnavailable) -> Deferred[None]:
        """
        Fail all who wait.

        @return: fires when nothing more can be on its way to them, and all that
            was has gone back; or the hub is lost.
        """
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            one.fire(Failure(error))  # type: ignore[no-untyped-call]
            self._withdraw(one)
        quiet: Deferred[None] = Deferred()
        self._quiet = quiet
        self._see_whether_quiet()
        return quiet

    def _see_whether_quiet(self) -> None:
        if self._quiet is None or self._withdrawn:
            return
        self._give_back()
        quiet, self._quiet = self._quiet, None
        quiet.callback(None)

    def _hub_time(self) -> float:
        return self._clock.seconds() + self._ahead
