"""
The IPC layer: the processes of one machine, and no other server.

The first process to come hosts the hub, which keeps all messages; the others are
its guests, over a Unix socket.  When the host ends, the next takes its place.
What a process is makes no difference to whoever uses its layer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chanserv.codec import MAX_ENCODED_SIZE, Codec
from chanserv.core.capacity import CAPACITY, MAILBOX_CAPACITY, Rules, checked_seconds
from chanserv.core.defaults import EXPIRY, GROUP_EXPIRY, MAX_MESSAGE_SIZE
from chanserv.core.outstanding import Outstanding
from chanserv.core.patterns import Pattern
from chanserv.core.receivable import ReceivableNames
from chanserv.errors import (
    ChannelLayerError,
    ConfigurationError,
    InvalidMessage,
    LayerUnavailable,
    MessageTooLarge,
)
from chanserv.interfaces import IChannelLayer
from chanserv.layers.forks import tell_after_fork
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.desk import PATIENCE, Desk
from chanserv.layers.ipc.inbox import Inbox
from chanserv.layers.ipc.links import ANSWER_TIMEOUT, Link, Parting
from chanserv.layers.ipc.options import HubOptions, differences
from chanserv.layers.ipc.place import Place
from chanserv.layers.ipc.seat import Seat
from chanserv.layers.ipc.stream import FRAME_BYTES
from chanserv.layers.served_store import closed
from chanserv.messages import Delivery, Forget, GroupSend, Message, Operation, Outcome, Send, seal
from chanserv.names import (
    check_channel,
    check_group,
    check_receipt,
    made_up,
    mailbox_of,
)

PREFIX: Final = "chanserv"
"""The name of a layer that is given none."""

_HUB: Final = "hub"
"""What the one store of this layer is called where there could be many."""


@implementer(IChannelLayer)
class IPCChannelLayer:
    """
    A channel layer between the processes of one machine and one user.

    The options of the process that hosts the hub count for all; where another's
    differ, its log says so.
    """

    extensions = frozenset({"groups", "flush", "statistics"})
    settles = True
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        /,
        *,
        prefix: str = PREFIX,
        directory: str | None = None,
        expiry: float = EXPIRY,
        group_expiry: float = GROUP_EXPIRY,
        capacity: int = CAPACITY,
        channel_capacity: Rules | None = None,
        mailbox_capacity: int = MAILBOX_CAPACITY,
        max_message_size: int = MAX_MESSAGE_SIZE,
        redeliver: Iterable[Pattern] | None = None,
        patience: float = PATIENCE,
        answer_timeout: float = ANSWER_TIMEOUT,
        guest: bool = False,
        clock: IReactorTime | None = None,
    ) -> None:
        """
        Nothing is opened before the first call of another method.

        @param reactor: what the layer lives on.
        @param prefix: the layer's name; processes that give the same one share it.
        @param directory: an absolute path, for the files by which they meet.  It
            is the user's alone, mode 700, and made where there is none.  L{None}
            for C{$XDG_RUNTIME_DIR/chanserv}, or C{/tmp/chanserv-UID}.
        @param expiry: seconds after which an unread message is dropped.
        @param group_expiry: seconds after which a member leaves its group.
        @param capacity: messages that an ordinary or single-reader channel holds.
        @param channel_capacity: exceptions, by glob or compiled regular
            expression; see L{chanserv.core.capacity.Capacities}.
        @param mailbox_capacity: deliveries that the mailbox of a
            process-specific channel holds.
        @param max_message_size: bytes that one message may hold.
        @param redeliver: channels, by glob or compiled regular expression,
            whose messages are handed out again when they were lost.
        @param patience: seconds that a call waits for a hub where there is none.
        @param answer_timeout: seconds without an answer after which the hub's
            process is taken for stopped.
        @param guest: whether to leave hosting to other processes, if there are
            any: for one that ends soon.
        @param clock: tells the hub's time, should this be the host; the reactor
            unless given.
        @raise ConfigurationError: a value is out of range, or the name makes the
            socket's path too long.
        """
        if reactor is None:
            raise ConfigurationError(
                "an IPC layer lives on a reactor: in a process that runs none, use "
                "chanserv.layers.blocking_layer"
            )
        self._options = HubOptions.checked(
            expiry=expiry,
            group_expiry=group_expiry,
            capacity=capacity,
            mailbox_capacity=mailbox_capacity,
            max_message_size=max_message_size,
            channel_capacity=channel_capacity,
            redeliver=redeliver,
        )
        self.expiry = self._options.expiry
        self.group_expiry = self._options.group_expiry
        self._max_size = max_message_size
        self._name = prefix
        self._codec = Codec()
        self._outstanding = Outstanding()
        # Receipts to be given, and messages to be counted, in the next hub.
        self._owed: list[str] = []
        self._lost = 0
        self._has_begun = False
        self._had_hub = False
        self._closing: Deferred[None] | None = None
        self._names = ReceivableNames()
        self._desk = Desk(reactor, checked_seconds("patience", patience))
        self._inbox = Inbox(
            clock or reactor,
            self._codec,
            self._desk.tell,
            self._desk.post,
            self._receipt_came,
            self._outstanding.clear,
        )
        self._seat = Seat(
            Place(prefix, directory),
            self._options,
            reactor,
            clock or reactor,
            self._inbox,
            self,
            pid=os.getpid(),
            guest=guest,
            answer_timeout=checked_seconds("answer_timeout", answer_timeout),
        )

    @classmethod
    def for_reactor(cls, reactor: Any, **config: Any) -> IPCChannelLayer:
        """Make one for a process; see the class."""
        return cls(reactor, **config)

    @classmethod
    def for_guest(cls, reactor: Any, **config: Any) -> IPCChannelLayer:
        """Make one for a process that should not host the hub if others can."""
        return cls(reactor, **{"guest": True, **config})

    # Messages

    def send(self, channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        """See L{IChannelLayer}."""
        try:
            operation = self._send(channel, message, receipt)
        except ChannelLayerError as error:
            return fail(error)
        answer = self._post(operation, len(operation[3]) + 100)
        if receipt is not None:
            self._outstanding.asked(_HUB, receipt)
            answer.addErrback(self._not_sent, receipt)
        return answer

    def send_batch(
        self, operations: Sequence[Operation], settled: Sequence[Delivery] = ()
    ) -> Deferred[list[ChannelLayerError | None]]:
        """
        See L{IChannelLayer}.

        A batch of more than L{FRAME_BYTES} goes in parts.
        """
        errors: list[ChannelLayerError | None] = [None] * len(operations)
        ready: list[tuple[int, wire.Operation]] = []
        for index, operation in enumerate(operations):
            try:
                ready.append((index, self._written(operation)))
            except ChannelLayerError as error:
                errors[index] = error
        return self._post_batch(ready, self._inbox.settled(settled), errors)

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        """See L{IChannelLayer}."""
        return self._receive(channels, limit, is_glance=False)

    def receive_now(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        """
        Take what is there, perhaps nothing.

        @return: fires with at most C{limit} deliveries.
        """
        return self._receive(channels, limit, is_glance=True)

    def new_channel(self, pattern: str) -> Deferred[str]:
        """See L{IChannelLayer}: the hub need not be asked."""
        if self._closing is not None:
            return fail(closed())
        try:
            return succeed(made_up(pattern))
        except ChannelLayerError as error:
            return fail(error)

    # Groups

    def group_add(self, group: str, channel: str) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._checked(
            lambda: (wire.GROUP_ADD, check_group(group), check_channel(channel)),
        )

    def group_discard(self, group: str, channel: str) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._checked(
            lambda: (wire.GROUP_DISCARD, check_group(group), check_channel(channel)),
        )

    def group_channels(self, group: str) -> Deferred[list[str]]:
        """See L{IChannelLayer}."""
        members = self._checked(lambda: (wire.GROUP_CHANNELS, check_group(group)))
        return members.addCallback(list)

    def send_group(self, group: str, message: Message) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._checked(lambda: self._send_group(group, message))

    # Bookkeeping

    def flush(self) -> Deferred[None]:
        """
        See L{IChannelLayer}.

        The messages that are forgotten give no receipts.
        """
        return self._checked(lambda: (wire.FLUSH,))

    def global_statistics(self) -> Deferred[Mapping[str, int]]:
        """See L{IChannelLayer}."""
        return self._checked(lambda: (wire.TOTALS,))

    def channel_statistics(self, channel: str) -> Deferred[Mapping[str, int]]:
        """See L{IChannelLayer}."""
        return self._checked(lambda: (wire.COUNTS, mailbox_of(check_channel(channel))))

    def close(self) -> Deferred[None]:
        """See L{IChannelLayer}."""
        if self._closing is None:
            self._closing = Deferred()
            error = closed()
            self._inbox.close(error)
            self._desk.close(error)
            self._seat.close().addBoth(self._closed, self._closing)
        waiting: Deferred[None] = Deferred()
        self._closing.addBoth(_pass_on, waiting)
        return waiting

    def _closed(self, result: Any, closing: Deferred[None]) -> None:
        if isinstance(result, Failure):
            self._log.failure(
                "The IPC layer {name} did not close in order", result, name=self._name
            )
        closing.callback(None)

    def forked(self) -> None:
        """
        See L{chanserv.layers.forks.Forked}: the lock and the sockets are the
        parent's, whose end nobody would see while a child has them open.
        """
        if self._has_begun:
            self._seat.forked()

    # The hub, as the seat tells of it

    def hub_found(self, link: Link, now: float) -> None:
        """See L{chanserv.layers.ipc.seat.Occupant}."""
        unlike = differences(self._options.written(), link.options)
        if unlike:
            self._log.warn(
                "The IPC layer {name} has other options where its hub is, and those count: "
                "{unlike}",
                name=self._name,
                unlike=unlike,
            )
        self.expiry = link.options["expiry"]
        self.group_expiry = link.options["group_expiry"]
        self._max_size = link.options["max_message_size"]
        self._desk.found(link)
        if self._had_hub:
            self._put_back()
        self._had_hub = True
        self._inbox.hub_found(now)
        self._desk.release()

    def hub_lost(self, parting: Parting) -> None:
        """See L{chanserv.layers.ipc.seat.Occupant}."""
        self._inbox.hub_lost()
        # What was not done is asked of the next hub, with its receipts.
        still_asked = [receipt for one in parting.undone for receipt in _receipts_of(one[0])]
        for receipt in still_asked:
            self._outstanding.answered(_HUB, receipt)
        receipts = self._outstanding.lost(_HUB)
        for receipt in still_asked:
            self._outstanding.asked(_HUB, receipt)
        self._owed += receipts
        self._desk.lost(str(parting.reason), parting.undone)
        if parting.lost is None:
            self._lost += len(receipts)
            self._log.warn(
                "The hub of the IPC layer {name} is gone, with all that waited there: {failed} "
                "calls have failed, and {receipts} messages whose receipts had not come are "
                "lost; looking for the next hub",
                name=self._name,
                failed=parting.failed,
                receipts=len(receipts),
            )
        else:
            self._log.info(
                "The hub of the IPC layer {name} has ended, and {lost} messages with it; "
                "looking for the next hub",
                name=self._name,
                lost=parting.lost,
            )

    def owns_mailboxes(self) -> bool:
        """See L{chanserv.layers.ipc.seat.Occupant}."""
        return self._inbox.owns_mailboxes()

    def hub_missing(self, reason: str) -> None:
        """See L{chanserv.layers.ipc.seat.Occupant}."""
        self._desk.reason = reason

    def _put_back(self) -> None:
        """Tell a new hub what this process knows of the one before."""
        owed, self._owed = self._owed, []
        lost, self._lost = self._lost, 0

        def still_owed(failure: Failure) -> None:
            failure.trap(ChannelLayerError)  # type: ignore[no-untyped-call]
            self._owed = owed + self._owed
            self._lost += lost

        memberships = self._inbox.memberships()
        weight = 100 + 100 * (len(owed) + sum(map(len, memberships.values())))
        operation = (wire.PUT_BACK, memberships, owed, lost)
        self._desk.post(operation, weight).addErrback(still_owed)

    # Inside

    def _checked(self, make: Callable[[], wire.Operation]) -> Deferred[Any]:
        try:
            operation = make()
        except ChannelLayerError as error:
            return fail(error)
        return self._post(operation, _weight(operation))

    def _post(self, operation: wire.Operation, weight: int) -> Deferred[Any]:
        if self._closing is None:
            self._begin()
        return self._desk.post(operation, weight)

    def _receive(
        self, channels: Sequence[str], limit: int, is_glance: bool
    ) -> Deferred[list[Delivery]]:
        try:
            names = self._names.checked(channels)
        except ChannelLayerError as error:
            return fail(error)
        if limit < 1:
            return fail(ValueError(f"limit must be at least 1, not {limit!r}"))
        if self._closing is not None:
            return fail(closed())
        self._begin()
        return self._inbox.receive(names, limit, is_glance)

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            tell_after_fork(self)
            self._seat.begin()

    def _written(self, operation: Operation) -> wire.Operation:
        """
        One operation of a batch.

        @raise ChannelLayerError: it is refused here already.
        """
        if isinstance(operation, Send):
            return self._send(operation.channel, operation.message, operation.receipt)
        if isinstance(operation, GroupSend):
            return self._send_group(operation.group, operation.message)
        if isinstance(operation, Forget):
            return (wire.FORGET, check_channel(operation.channel))
        raise InvalidMessage("operation", f"is no Send, GroupSend or Forget: {operation!r}")

    def _send(self, channel: str, message: Message, receipt: str | None) -> wire.Operation:
        check_channel(channel)
        if receipt is not None:
            check_receipt(receipt)
        return (wire.SEND, channel, *self._encoded(channel, message), receipt)

    def _send_group(self, group: str, message: Message) -> wire.Operation:
        check_group(group)
        return (wire.SEND_GROUP, group, *self._encoded(group, message))

    def _encoded(self, name: str, message: Message) -> tuple[int, bytes]:
        """The size of C{message}, and its bytes."""
        sealed = seal(message)
        # Which limit counts, the hub tells; until then it looks itself.
        if sealed.size > self._max_size and self._desk.link is not None:
            raise MessageTooLarge(name, sealed.size, self._max_size)
        data = self._codec.encode(sealed)
        if len(data) > MAX_ENCODED_SIZE:
            raise MessageTooLarge(name, len(data), MAX_ENCODED_SIZE)
        return sealed.size, data

    def _post_batch(
        self,
        ready: list[tuple[int, wire.Operation]],
        leases: list[tuple[int, int]],
        errors: list[ChannelLayerError | None],
    ) -> Deferred[list[ChannelLayerError | None]]:
        parts = _in_parts(ready)
        done: Deferred[list[ChannelLayerError | None]] = Deferred()
        left = len(parts)

        def finished(result: Any, part: list[tuple[int, wire.Operation]]) -> None:
            nonlocal left
            self._note_errors(result, part, errors)
            left -= 1
            if not left:
                done.callback(errors)

        for number, part in enumerate(parts, 1):
            operations = [operation for _, operation in part]
            for receipt in _receipts_of((wire.BATCH, operations)):
                self._outstanding.asked(_HUB, receipt)
            settled = leases if number == len(parts) else []
            answer = self._post((wire.BATCH, operations, settled), sum(map(_weight, operations)))
            if settled:
                answer.addErrback(self._not_settled, settled)
            answer.addBoth(finished, part)
        return done

    def _note_errors(
        self,
        result: Any,
        part: list[tuple[int, wire.Operation]],
        errors: list[ChannelLayerError | None],
    ) -> None:
        """Write what became of a part of a batch in its places."""
        failed: dict[int, ChannelLayerError]
        if isinstance(result, Failure):
            error = result.value
            if not isinstance(error, ChannelLayerError):
                self._log.failure("A batch failed", result)
                error = LayerUnavailable(f"the IPC layer {self._name!r} failed: {error}")
            failed = dict.fromkeys(range(len(part)), error)
        else:
            failed = {index: wire.read_error(written) for index, written in result or ()}
        for place, error in failed.items():
            index, operation = part[place]
            errors[index] = error
            for receipt in _receipts_of(operation):
                self._outstanding.answered(_HUB, receipt)

    def _not_settled(self, failure: Failure, leases: list[tuple[int, int]]) -> Failure:
        """
        A batch did not reach the hub: should that be there still, those who sent
        what was finished hear that the replies are lost.
        """
        lost = wire.OUTCOME_INDEX[Outcome.LOST]
        self._desk.tell((wire.SETTLE, [(lease, lost) for lease, _ in leases]))
        return failure

    def _not_sent(self, failure: Failure, receipt: str) -> Failure:
        self._outstanding.answered(_HUB, receipt)
        return failure

    def _receipt_came(self, channel: str) -> None:
        self._outstanding.answered(_HUB, channel)


def _receipts_of(operation: wire.Operation) -> list[str]:
    """The channels that an operation asks receipts for."""
    sends = operation[1] if operation[0] == wire.BATCH else [operation]
    return [one[4] for one in sends if one[0] == wire.SEND and one[4] is not None]


def _weight(operation: wire.Operation) -> int:
    """Roughly the bytes of an operation."""
    if operation[0] in (wire.SEND, wire.SEND_GROUP):
        return len(operation[3]) + 100
    return 100


def _in_parts(ready: list[tuple[int, wire.Operation]]) -> list[list[tuple[int, wire.Operation]]]:
    """A batch in parts of L{FRAME_BYTES}, or of one operation; at least one part."""
    parts: list[list[tuple[int, wire.Operation]]] = [[]]
    weight = 0
    for one in ready:
        if weight > FRAME_BYTES:
            parts.append([])
            weight = 0
        parts[-1].append(one)
        weight += _weight(one[1])
    return parts


def _pass_on(result: Any, waiting: Deferred[None]) -> Any:
    waiting.callback(None)
    return result
