"""
The IPC layer: the processes of one machine, and no other server.

The first process to come hosts the hub, which keeps all messages; the others are
its guests, over a Unix socket.  When the host ends, the next takes its place.
What a process is makes no difference to whoever uses its layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chanserv.codec import Codec
from chanserv.core.capacity import CAPACITY, MAILBOX_CAPACITY, Rules, checked_seconds
from chanserv.core.defaults import EXPIRY, GROUP_EXPIRY, MAX_MESSAGE_SIZE
from chanserv.core.patterns import Pattern
from chanserv.core.receivable import ReceivableNames
from chanserv.errors import (
    ChannelLayerError,
    ConfigurationError,
)
from chanserv.interfaces import IChannelLayer
from chanserv.layers.forks import tell_after_fork
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.desk import PATIENCE, Desk
from chanserv.layers.ipc.inbox import Inbox
from chanserv.layers.ipc.links import ANSWER_TIMEOUT, Link, Parting
from chanserv.layers.ipc.options import HubOptions, differences
from chanserv.layers.ipc.place import Place
from chanserv.layers.ipc.remote_link import PARTING_TIMEOUT
from chanserv.layers.ipc.seat import Seat
from chanserv.layers.ipc.sending import Sending, weight_of
from chanserv.layers.served_store import closed
from chanserv.messages import Delivery, Message, Operation
from chanserv.names import (
    check_channel,
    check_group,
    made_up,
    mailbox_of,
)

PREFIX: Final = "chanserv"
"""The name of a layer that is given none."""


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
        self._name = prefix
        self._reactor = reactor
        self._has_begun = False
        self._had_hub = False
        self._closing: Deferred[None] | None = None
        self._names = ReceivableNames()
        self._desk = Desk(reactor, checked_seconds("patience", patience))
        codec = Codec()
        self._sending = Sending(codec, self._post, self._desk.tell)
        self._inbox = Inbox(
            clock or reactor,
            codec,
            self._desk.tell,
            self._desk.post,
            self._sending.receipt_came,
            self._sending.flushed,
        )
        self._seat = Seat(
            Place(prefix, directory),
            self._options,
            reactor,
            clock or reactor,
            self._inbox,
            self,
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

    def rather_be_a_guest(self) -> None:
        """
        From now on, leave hosting the hub to other processes, if there are any:
        for a process that is started anew while the others stay.
        """
        self._seat.rather_be_a_guest()

    def never_be_the_host(self) -> None:
        """
        From now on, leave hosting the hub to other processes, and wait for one where
        there is none: for a process that only looks at what others do.
        """
        self._seat.never_be_the_host()

    # Messages

    def send(self, channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        """See L{IChannelLayer}."""
        try:
            return self._sending.send(channel, message, receipt)
        except ChannelLayerError as error:
            return fail(error)

    def send_batch(
        self, operations: Sequence[Operation], settled: Sequence[Delivery] = ()
    ) -> Deferred[list[ChannelLayerError | None]]:
        """See L{IChannelLayer}."""
        return self._sending.send_batch(operations, self._inbox.settled(settled))

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
        try:
            return self._sending.send_group(group, message)
        except ChannelLayerError as error:
            return fail(error)

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
            self._desk.close(error)
            quiet = self._inbox.close(error)
            if not quiet.called:
                quiet.addTimeout(PARTING_TIMEOUT, self._reactor)
            quiet.addBoth(lambda _: self._seat.close())
            quiet.addBoth(self._closed, self._closing)
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
        self._sending.max_size = link.options["max_message_size"]
        self._desk.found(link)
        if self._had_hub:
            self._sending.put_back(self._inbox.memberships())
        self._had_hub = True
        self._inbox.hub_found(now)
        self._desk.release()

    def hub_lost(self, parting: Parting) -> None:
        """See L{chanserv.layers.ipc.seat.Occupant}."""
        self._inbox.hub_lost()
        self._desk.lost(str(parting.reason), parting.undone)
        receipts = self._sending.hub_lost(self._desk.held(), parting.lost is not None)
        if parting.lost is None:
            self._log.warn(
                "The hub of the IPC layer {name} is gone, with all that waited there, {load} "
                "messages when it last said so: {failed} calls have failed, and {receipts} "
                "messages whose receipts had not come are lost; looking for the next hub",
                name=self._name,
                load=parting.load,
                failed=parting.failed,
                receipts=receipts,
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

    # Inside

    def _checked(self, make: Callable[[], wire.Operation]) -> Deferred[Any]:
        try:
            operation = make()
        except ChannelLayerError as error:
            return fail(error)
        return self._post(operation, weight_of(operation))

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


def _pass_on(result: Any, waiting: Deferred[None]) -> Any:
    waiting.callback(None)
    return result
