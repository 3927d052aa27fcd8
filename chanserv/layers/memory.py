"""
The memory layer: one process, nothing to set up, and every promise kept.

A product, not a stand-in: the layer of one-process sites, embedded workers
and tests.  Its cost is a lock and a few dictionary look-ups for each message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from chanserv.core.capacity import (
    CAPACITY,
    MAILBOX_CAPACITY,
    Capacities,
    Rules,
    checked_count,
    checked_seconds,
)
from chanserv.core.defaults import EXPIRY, GROUP_EXPIRY, MAX_MESSAGE_SIZE
from chanserv.core.patterns import Pattern, RedeliveredNames
from chanserv.errors import ChannelLayerError
from chanserv.interfaces import IBlockingChannelLayer, IChannelLayer
from chanserv.layers.memory_face import MemoryFace
from chanserv.layers.served_store import DeferredReader
from chanserv.layers.shared_store import SharedStore
from chanserv.messages import Delivery, Message, Operation


@implementer(IChannelLayer)
class MemoryChannelLayer:
    """
    A channel layer within one process.

    Statistics are exact.  Those of one channel are kept while it holds
    messages, and after that among the L{chanserv.core.store.MAX_IDLE} channels
    that fell empty last; process-specific channels are counted by mailbox.
    """

    extensions = frozenset({"groups", "flush", "statistics"})
    settles = True
    within_process = True

    def __init__(
        self,
        *,
        expiry: float = EXPIRY,
        group_expiry: float = GROUP_EXPIRY,
        capacity: int = CAPACITY,
        channel_capacity: Rules | None = None,
        mailbox_capacity: int = MAILBOX_CAPACITY,
        max_message_size: int = MAX_MESSAGE_SIZE,
        redeliver: Iterable[Pattern] | None = None,
        clock: IReactorTime | None = None,
        call_from_thread: Callable[..., object] | None = None,
    ) -> None:
        """
        @param expiry: seconds after which an unread message is dropped.
        @param group_expiry: seconds after which a member leaves its group.
        @param capacity: messages that an ordinary or single-reader channel holds.
        @param channel_capacity: exceptions, by glob or compiled regular
            expression; see L{Capacities}.
        @param mailbox_capacity: deliveries that the mailbox of a
            process-specific channel holds.
        @param max_message_size: bytes that one message may hold.
        @param redeliver: channels, by glob or compiled regular expression,
            whose messages are handed out again when they were lost.
        @param clock: the reactor; or L{None} in a process that runs none,
            where what expires is noticed by the next operation.
        @param call_from_thread: C{reactor.callFromThread}; or L{None} where the
            layer is used by one thread, or no reactor runs.
        @raise ConfigurationError: a value is out of range.
        """
        self.expiry = checked_seconds("expiry", expiry)
        self.group_expiry = checked_seconds("group_expiry", group_expiry)
        self._shared = SharedStore(
            expiry=self.expiry,
            group_expiry=self.group_expiry,
            capacities=Capacities(capacity, mailbox_capacity, channel_capacity),
            max_message_size=checked_count("max_message_size", max_message_size),
            redelivers=RedeliveredNames(redeliver),
            clock=clock,
            call_from_thread=call_from_thread,
        )

    @classmethod
    def for_reactor(cls, reactor: Any, **config: Any) -> MemoryChannelLayer:
        """
        Make one for a process.

        @param reactor: its reactor, or L{None} where it runs none.
        @param config: as to the class.
        """
        if reactor is None:
            return cls(**config)
        return cls(clock=reactor, call_from_thread=reactor.callFromThread, **config)

    def blocking_face(self, must_not_wait: Callable[[], bool]) -> IBlockingChannelLayer:
        """
        This layer for threads, without a trip to the reactor.

        @param must_not_wait: whether the calling thread is the reactor's.
        """
        return MemoryFace(self._shared, self, must_not_wait)

    def send(self, channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        """See L{IChannelLayer}."""
        shared = self._shared
        try:
            shared.put(channel, message, receipt)
        except ChannelLayerError as error:
            shared.attend()
            return fail(error)
        shared.attend()
        return succeed(None)

    def send_batch(
        self, operations: Sequence[Operation], settled: Sequence[Delivery] = ()
    ) -> Deferred[list[ChannelLayerError | None]]:
        """
        See L{IChannelLayer}.

        Waiting readers are served when all of it is in, so that they get as
        much as they can take at once.
        """
        shared = self._shared
        errors = shared.put_all(operations)
        if settled:
            shared.settle_all(settled)
        shared.attend()
        return succeed(errors)

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        """
        See L{IChannelLayer}.

        A reader that waits has its Deferred fired by the operation that
        brings the message, on the reactor's thread.
        """
        shared = self._shared
        try:
            taken = shared.receive(channels, limit)
        except (ChannelLayerError, ValueError) as error:
            return fail(error)
        if isinstance(taken, DeferredReader):
            waiting: Deferred[list[Delivery]] = Deferred(lambda _: shared.withdraw(taken))
            taken.deferred = waiting
            shared.attend()
            return waiting
        shared.attend()
        return succeed(taken)

    def new_channel(self, pattern: str) -> Deferred[str]:
        """See L{IChannelLayer}."""
        return self._result(self._shared.new_channel, pattern)

    def group_add(self, group: str, channel: str) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._result(self._shared.add_member, group, channel)

    def group_discard(self, group: str, channel: str) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._result(self._shared.discard_member, group, channel)

    def group_channels(self, group: str) -> Deferred[list[str]]:
        """See L{IChannelLayer}."""
        return self._result(self._shared.members, group)

    def send_group(self, group: str, message: Message) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._result(self._shared.put_group, group, message)

    def flush(self) -> Deferred[None]:
        """
        See L{IChannelLayer}.

        The messages that are forgotten give no receipts.
        """
        return self._result(self._shared.clear)

    def global_statistics(self) -> Deferred[Mapping[str, int]]:
        """See L{IChannelLayer}."""
        return self._result(self._shared.totals)

    def channel_statistics(self, channel: str) -> Deferred[Mapping[str, int]]:
        """See L{IChannelLayer}."""
        return self._result(self._shared.counts, channel)

    def close(self) -> Deferred[None]:
        """See L{IChannelLayer}."""
        self._shared.close()
        return succeed(None)

    def _result(self, operation: Callable[..., Any], *args: object) -> Deferred[Any]:
        try:
            result = operation(*args)
        except ChannelLayerError as error:
            self._shared.attend()
            return fail(error)
        self._shared.attend()
        return succeed(result)
