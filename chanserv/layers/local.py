"""
Two layers as one: ordinary channels on the one, all else on the other.

Requests and events then stay on their machine, at the speed of IPC, while what
must find its way from anywhere (replies, bodies, groups) goes over Redis.

Where a message goes is settled by its channel's name.  Reading is not: a receipt
comes back in the mailbox of the layer that its message went over, and a group's
message for an ordinary channel comes over the layer that has the groups; so
every receive waits on both.

A batch sends on both sides before it settles on either, so that a receipt is
given when the replies are in.  Only a batch that has all on one side takes one
trip.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chanserv.errors import ChannelLayerError, InvalidChannelName, InvalidMessage
from chanserv.interfaces import IChannelLayer
from chanserv.layers.reach import within_process
from chanserv.messages import Delivery, Forget, GroupSend, Message, Operation, Outcome, Send
from chanserv.names import (
    check_all_receivable,
    check_channel,
    is_process_specific,
    is_single_reader,
)

OLDEST: Final = "messages_max_age"
"""The one figure of the statistics that does not add up."""

_log = Logger()


class SplitDelivery(Delivery):
    """
    A delivery that knows which side it came from.

    @ivar side: the layer.
    @ivar original: the delivery as that gave it.
    """

    __slots__ = ("original", "side")

    def __init__(self, side: IChannelLayer, original: Delivery) -> None:
        super().__init__(original.recipients, original.message)
        self.side = side
        self.original = original

    def settle(self, outcome: Outcome = Outcome.SETTLED) -> None:
        """See L{Delivery}."""
        self.original.settle(outcome)


@implementer(IChannelLayer)
class SplitChannelLayer:
    """
    See L{IChannelLayer}.

    Each side has capacities and limits of its own, and counts for itself; the
    statistics are the sum.  Messages of one channel are in order, but for those
    that reach an ordinary channel by a group.
    """

    def __init__(self, ordinary: IChannelLayer, rest: IChannelLayer) -> None:
        """
        @param ordinary: has the ordinary channels.
        @param rest: has process-specific and single-reader channels, and groups.
        """
        self._ordinary = ordinary
        self._rest = rest
        self._sides = (rest, ordinary)
        self._rest_filled_one = False

    @property
    def extensions(self) -> frozenset[str]:
        """What both sides have; of groups, the one that has them."""
        both = frozenset(self._rest.extensions) & frozenset(self._ordinary.extensions)
        return both | frozenset(self._rest.extensions) & {"groups"}

    @property
    def expiry(self) -> float:
        """That of ordinary channels."""
        return self._ordinary.expiry

    @property
    def group_expiry(self) -> float:
        """That of the side with the groups."""
        return self._rest.group_expiry

    @property
    def settles(self) -> bool:
        """Whether both sides do."""
        return self._ordinary.settles and self._rest.settles

    @property
    def within_process(self) -> bool:
        """Whether neither side reaches another process; see L{chanserv.layers.reach}."""
        return within_process(self._ordinary) and within_process(self._rest)

    @property
    def memberships_end(self) -> bool:
        """Whether they end with their process, where the groups are."""
        return bool(getattr(self._rest, "memberships_end", True))

    # Sending

    def send(self, channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        """See L{IChannelLayer}."""
        try:
            side = self._side_of(channel)
        except InvalidChannelName as error:
            return fail(error)
        return side.send(channel, message, receipt)

    def send_batch(
        self, operations: Sequence[Operation], settled: Sequence[Delivery] = ()
    ) -> Deferred[list[ChannelLayerError | None]]:
        """
        See L{IChannelLayer}.

        @return: fails where a side did; what went over the other has arrived.
        """
        errors: list[ChannelLayerError | None] = [None] * len(operations)
        sends = self._split(operations, errors)
        settles = _by_side(settled)
        busy = [side for side in self._sides if side in sends or side in settles]
        if len(busy) < 2:
            side = busy[0] if busy else self._rest
            numbers, parts = sends.get(side, ([], []))
            one = side.send_batch(parts, settles.get(side, ()))
            return one.addCallback(_put_into, errors, numbers)
        return self._send_apart(errors, sends, settles)

    def _send_apart(
        self,
        errors: list[ChannelLayerError | None],
        sends: Mapping[IChannelLayer, tuple[list[int], list[Operation]]],
        settles: Mapping[IChannelLayer, list[Delivery]],
    ) -> Deferred[list[ChannelLayerError | None]]:
        """Send on both sides, and then settle on both."""
        sending: list[Deferred[Any]] = [
            side.send_batch(parts).addCallback(_put_into, errors, numbers)
            for side, (numbers, parts) in sends.items()
        ]

        def settle(_: object) -> Deferred[list[Any]]:
            return _all([side.send_batch([], given) for side, given in settles.items()])

        def give_up(failure: Failure) -> Failure:
            # The replies are lost; who asked had better hear of it now.
            for given in settles.values():
                for delivery in given:
                    delivery.settle(Outcome.LOST)
            return failure

        return _all(sending).addErrback(give_up).addCallback(settle).addCallback(lambda _: errors)

    def send_group(self, group: str, message: Message) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._rest.send_group(group, message)

    # Receiving

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        """
        See L{IChannelLayer}.

        It waits on both sides; when one has something, the other is cancelled.
        Replies come before receipts where both are there: the side that has
        them is asked first, unless last time there was no end of them.
        """
        try:
            # Once for both, and the same error from both.
            names = check_all_receivable(channels)
        except InvalidChannelName as error:
            return fail(error)
        sides = self._sides[::-1] if self._rest_filled_one else self._sides
        receive = _Receive(sides, names, limit)
        self._rest_filled_one = not self._rest_filled_one and receive.asked == 1
        return receive.deferred

    # The rest

    def new_channel(self, pattern: str) -> Deferred[str]:
        """See L{IChannelLayer}."""
        return self._rest.new_channel(pattern)

    def group_add(self, group: str, channel: str) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._rest.group_add(group, channel)

    def group_discard(self, group: str, channel: str) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._rest.group_discard(group, channel)

    def group_channels(self, group: str) -> Deferred[list[str]]:
        """See L{IChannelLayer}."""
        return self._rest.group_channels(group)

    def flush(self) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return _all([side.flush() for side in self._sides]).addCallback(lambda _: None)

    def global_statistics(self) -> Deferred[Mapping[str, int]]:
        """See L{IChannelLayer}."""
        return _all([side.global_statistics() for side in self._sides]).addCallback(_sum)

    def channel_statistics(self, channel: str) -> Deferred[Mapping[str, int]]:
        """See L{IChannelLayer}."""
        return _all([side.channel_statistics(channel) for side in self._sides]).addCallback(_sum)

    def close(self) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return _all([side.close() for side in self._sides]).addCallback(lambda _: None)

    # Inside

    def _side_of(self, channel: str) -> IChannelLayer:
        """
        The layer that has C{channel}.

        @raise InvalidChannelName: it is none.
        """
        check_channel(channel)
        if is_process_specific(channel) or is_single_reader(channel):
            return self._rest
        return self._ordinary

    def _split(
        self, operations: Iterable[Operation], errors: list[ChannelLayerError | None]
    ) -> dict[IChannelLayer, tuple[list[int], list[Operation]]]:
        """For each side its operations and their places; what has none is an error."""
        sends: dict[IChannelLayer, tuple[list[int], list[Operation]]] = {}
        for number, operation in enumerate(operations):
            try:
                if isinstance(operation, Send):
                    side = self._side_of(operation.channel)
                elif isinstance(operation, (GroupSend, Forget)):
                    side = self._rest
                else:
                    raise InvalidMessage(
                        "operation", f"is no Send, GroupSend or Forget: {operation!r}"
                    )
            except ChannelLayerError as error:
                errors[number] = error
                continue
            numbers, parts = sends.setdefault(side, ([], []))
            numbers.append(number)
            parts.append(operation)
        return sends


class _Receive:
    """
    One receive on both sides.

    @ivar deferred: fires with what the first side has that has something.
    @ivar asked: how many sides had to be asked.
    """

    def __init__(self, sides: Sequence[IChannelLayer], names: tuple[str, ...], limit: int) -> None:
        self.deferred: Deferred[list[Delivery]] = Deferred(lambda _: self._stop())
        self._waiting: list[Deferred[None]] = []
        self._found: list[Delivery] = []
        self._failure: Failure | None = None
        self._over = False
        for side in sides:
            receiving = side.receive(names, limit - len(self._found))
            self._waiting.append(receiving.addCallbacks(self._take, self._fail, (side,)))
            if self._failure is not None or len(self._found) >= limit:
                break
        self.asked = len(self._waiting)
        self._end_if_due()
        # From here on the first thing that comes ends it.
        for waiting in self._waiting:
            waiting.addCallback(lambda _: self._end_if_due())

    def _take(self, deliveries: list[Delivery], side: IChannelLayer) -> None:
        if not self._over:
            self._found += [SplitDelivery(side, one) for one in deliveries]
            return
        for one in deliveries:
            one.settle(Outcome.LOST)
        _log.error(
            "{side} gave {count} messages to a receive that had been cancelled, and they are lost",
            side=side,
            count=len(deliveries),
        )

    def _fail(self, failure: Failure) -> None:
        if not self._over:
            self._failure = failure

    def _end_if_due(self) -> None:
        if self._over or not (self._found or self._failure):
            return
        self._stop()
        if self._found:
            self.deferred.callback(self._found)
        elif self._failure is not None:
            self.deferred.errback(self._failure)

    def _stop(self) -> None:
        """Wait no longer; a side that has answered minds no cancel."""
        self._over = True
        for waiting in self._waiting:
            waiting.cancel()


def _by_side(settled: Iterable[Delivery]) -> dict[IChannelLayer, list[Delivery]]:
    """For each side what it gave; what neither did settles by itself."""
    settles: dict[IChannelLayer, list[Delivery]] = {}
    for one in settled:
        if isinstance(one, SplitDelivery):
            settles.setdefault(one.side, []).append(one.original)
        else:
            one.settle()
    return settles


def _put_into(
    part: list[ChannelLayerError | None],
    errors: list[ChannelLayerError | None],
    numbers: list[int],
) -> list[ChannelLayerError | None]:
    """Put one side's answers in their places."""
    for number, error in zip(numbers, part, strict=True):
        errors[number] = error
    return errors


def _all(waiting: Sequence[Deferred[Any]]) -> Deferred[list[Any]]:
    """Fire with all results when all are in, or then fail with the first failure."""

    def sort(results: list[tuple[bool, Any]]) -> Any:
        failures = [value for good, value in results if not good]
        return failures[0] if failures else [value for _, value in results]

    return DeferredList(waiting, consumeErrors=True).addCallback(sort)


def _sum(parts: list[Mapping[str, int]]) -> dict[str, int]:
    """One statistic of both sides."""
    names = dict.fromkeys(name for part in parts for name in part)
    total = {name: sum(part.get(name, 0) for part in parts) for name in names}
    total[OLDEST] = max(part.get(OLDEST, 0) for part in parts)
    return total
