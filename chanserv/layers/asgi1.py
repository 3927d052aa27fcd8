"""
Any ASGI 1 channel layer as one of ours.

The specification's methods block; so a thread makes the calls, another one for
each set of channels receives, and what they bring comes back to the reactor:
see L{chanserv.layers.asgi1_threads} and L{chanserv.layers.asgi1_reception}.

There are no receipts: who reads there tells nobody when it has finished.  No
message is lost, unless the process ends while the layer's call is under way:
C{close} waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from chanserv.core.batch import attempt_all
from chanserv.core.defaults import MAX_MESSAGE_SIZE
from chanserv.errors import ChannelLayerError, LayerUnavailable
from chanserv.interfaces import IBlockingChannelLayer, IChannelLayer
from chanserv.layers.asgi1_calls import Asgi1Calls
from chanserv.layers.asgi1_face import Asgi1Face
from chanserv.layers.asgi1_reception import Reception
from chanserv.layers.asgi1_threads import Lane, Taken
from chanserv.messages import Delivery, GroupSend, Message, Operation, SealedMessage, Send, seal
from chanserv.names import check_all_receivable, check_channel, check_group, mailbox_of

WITHIN_PROCESS: Final = frozenset({"asgiref.inmemory.ChannelLayer"})
"""Layers known to reach no other process; see L{chanserv.layers.reach}."""


@implementer(IChannelLayer)
class Asgi1ChannelLayer:
    """
    See L{IChannelLayer}.

    Capacity and expiry are the layer's own.  A group's message comes out once
    for each member, as the layer sends it.
    """

    settles = False

    memberships_end = False
    """Whether a membership ends with its process: see L{chanserv.layers.reach}."""

    def __init__(
        self, layer: Any, reactor: Any, *, max_message_size: int = MAX_MESSAGE_SIZE
    ) -> None:
        """
        @param layer: an object with the methods of the ASGI 1 specification;
            see L{is_asgi1_layer<chanserv.layers.asgi1_traits.is_asgi1_layer>}.
        @param reactor: what this lives on; L{None} in a process that runs
            none, where only the blocking face is of use.
        @param max_message_size: bytes that a message may hold.
        """
        self._calls = Asgi1Calls(layer, max_message_size)
        self.extensions = frozenset(self._calls.extensions)
        self.expiry = self._calls.expiry
        self.group_expiry = self._calls.group_expiry
        self.within_process = self._calls.name in WITHIN_PROCESS
        self._lane = Lane(reactor, self._calls.name)
        self._reception = Reception(self._calls, reactor, self._put_back)
        self._closing: list[Deferred[None]] | None = None
        self._ended = False

    def blocking_face(self, must_not_wait: Callable[[], bool]) -> IBlockingChannelLayer:
        """
        This layer for threads, without a trip to the reactor.

        @param must_not_wait: whether the calling thread is the reactor's.
        """
        return Asgi1Face(
            self._calls, must_not_wait, lambda: self._closing is not None, self._reception.sent
        )

    def send(self, channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        """See L{IChannelLayer}: C{receipt} is ignored."""
        return self._checked(
            lambda: self._lane.call(self._put, check_channel(channel), seal(message))
        )

    def send_batch(
        self, operations: Sequence[Operation], settled: Sequence[Delivery] = ()
    ) -> Deferred[list[ChannelLayerError | None]]:
        """See L{IChannelLayer}: one trip to the thread, and there call by call."""
        # The messages are the sender's own again when this returns.
        sealed = [_sealed(operation) for operation in operations]
        return self._checked(lambda: self._lane.call(self._put_all, sealed))

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        """
        See L{IChannelLayer}.

        Those who wait for the same channels share one thread.
        """
        try:
            names = check_all_receivable(channels)
            if limit < 1:
                raise ValueError(f"limit must be at least 1, not {limit!r}")
            self._check_open()
            found = self._reception.receive(names, limit)
        except (ChannelLayerError, ValueError) as error:
            return fail(error)
        return found if isinstance(found, Deferred) else succeed(found)

    def new_channel(self, pattern: str) -> Deferred[str]:
        """See L{IChannelLayer}."""
        return self._checked(lambda: succeed(self._calls.new_channel(pattern)))

    def group_add(self, group: str, channel: str) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._membership(self._calls.add_member, group, channel)

    def group_discard(self, group: str, channel: str) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._membership(self._calls.discard_member, group, channel)

    def group_channels(self, group: str) -> Deferred[list[str]]:
        """See L{IChannelLayer}."""
        return self._checked(lambda: self._lane.call(self._calls.members, check_group(group)))

    def send_group(self, group: str, message: Message) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._checked(
            lambda: self._lane.call(self._put_group, check_group(group), seal(message))
        )

    def flush(self) -> Deferred[None]:
        """See L{IChannelLayer}."""

        def clear() -> Deferred[None]:
            self._reception.flush()
            return self._lane.call(self._calls.clear)

        return self._checked(clear)

    def global_statistics(self) -> Deferred[Mapping[str, int]]:
        """See L{IChannelLayer}, and L{chanserv.layers.asgi1_calls} on what is known."""
        return self._checked(lambda: self._lane.call(self._calls.totals))

    def channel_statistics(self, channel: str) -> Deferred[Mapping[str, int]]:
        """See L{IChannelLayer}, and L{chanserv.layers.asgi1_calls} on what is known."""
        return self._checked(
            lambda: self._lane.call(self._calls.counts, mailbox_of(check_channel(channel)))
        )

    def close(self) -> Deferred[None]:
        """
        See L{IChannelLayer}.

        @return: fires when the layer's calls have come back, and what they
            brought is in the layer again; after
            twice L{chanserv.layers.asgi1_threads.CLOSE_PATIENCE} in any case.
        """
        done: Deferred[None] = Deferred()
        if self._ended:
            done.callback(None)
        elif self._closing is not None:
            self._closing.append(done)
        else:
            self._closing = [done]
            ending = self._reception.close(_closed())
            ending.addCallback(lambda _: self._lane.close())
            ending.addCallback(lambda _: self._end(self._closing or []))
        return done

    # Inside

    def _end(self, waiting: list[Deferred[None]]) -> None:
        self._ended = True
        for done in waiting:
            done.callback(None)

    def _membership(
        self, change: Callable[[str, str], None], group: str, channel: str
    ) -> Deferred[None]:
        return self._checked(
            lambda: self._lane.call(change, check_group(group), check_channel(channel))
        )

    def _checked(self, start: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """Begin a call, if its arguments are good and the layer is open."""
        try:
            self._check_open()
            return start()
        except ChannelLayerError as error:
            return fail(error)

    def _check_open(self) -> None:
        if self._closing is not None:
            raise _closed()

    # In the lane's thread

    def _put(self, channel: str, message: SealedMessage) -> None:
        self._calls.put(channel, message)
        self._reception.sent(mailbox_of(channel))

    def _put_group(self, group: str, message: SealedMessage) -> None:
        self._calls.put_group(group, message)
        self._reception.sent(None)

    def _put_all(
        self, operations: Sequence[Operation | ChannelLayerError]
    ) -> list[ChannelLayerError | None]:
        def attempt(one: Operation | ChannelLayerError) -> ChannelLayerError | None:
            return one if isinstance(one, ChannelLayerError) else self._calls.attempt(one)

        errors = attempt_all(operations, attempt)
        self._reception.sent(None)
        return errors

    def _put_back(self, messages: Taken) -> Deferred[None]:
        """On the reactor's thread; never fails."""
        if not messages:
            return succeed(None)
        returning: Deferred[None] = self._lane.call(self._calls.put_back, messages)
        returning.addCallback(lambda _: self._reception.sent(None))
        return returning.addErrback(self._not_put_back, messages)

    def _not_put_back(self, failure: Failure, messages: Taken) -> None:
        for channel, _ in messages:
            self._calls.lost(channel, failure.value)


def _sealed(operation: Operation) -> Operation | ChannelLayerError:
    """C{operation} with its message sealed; or what is wrong with that."""
    try:
        if isinstance(operation, Send):
            return Send(operation.channel, seal(operation.message))
        if isinstance(operation, GroupSend):
            return GroupSend(operation.group, seal(operation.message))
    except ChannelLayerError as error:
        return error
    return operation


def _closed() -> LayerUnavailable:
    return LayerUnavailable("this channel layer has been closed: make another")
