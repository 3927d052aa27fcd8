"""
Any ASGI 1 channel layer as one of ours.

The specification's methods block; so a thread makes the calls, another one for
each set of channels receives, and what they bring comes back to the reactor:
see L{chanserv.layers.asgi1_threads}.

A call that receives cannot be interrupted.  When the C{receive} here that it
was made for is cancelled, or served by another, and it then brings a message,
that message is kept for the next C{receive} of its channel; if none comes
within L{KEPT_FOR} it is put back into the layer, where it is the last in line.
Nothing is lost by that, unless the process ends while the layer's call is
under way: C{close} waits for it.

There are no receipts: who reads there tells nobody when it has finished.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chanserv.core.readers import Readers
from chanserv.errors import ChannelLayerError, LayerUnavailable
from chanserv.interfaces import IBlockingChannelLayer, IChannelLayer
from chanserv.layers.asgi1_calls import MAX_MESSAGE_SIZE, Asgi1Calls
from chanserv.layers.asgi1_face import Asgi1Face
from chanserv.layers.asgi1_threads import MAX_LISTENERS, Lane, Listener, Taken
from chanserv.messages import Delivery, Message, Operation, SealedMessage, Send, seal
from chanserv.names import (
    check_all_receivable,
    check_channel,
    check_group,
    check_pattern,
    mailbox_of,
)

KEPT_FOR: Final = 0.5
"""Seconds that a message nobody here waits for is kept: a reader that changes
its channels is back at once, and other processes should not wait for long."""

CLOSE_PATIENCE: Final = 10.0
"""Seconds that C{close} gives the layer's calls to come back: twice what the
old layers block for."""

_log = Logger()


class Waiting:
    """
    A C{receive} that waits.

    @ivar channels: what it waits for, each once, in a fixed order.
    """

    __slots__ = ("channels", "deferred", "limit")

    def __init__(self, channels: tuple[str, ...], limit: int) -> None:
        self.channels = channels
        self.limit = limit
        self.deferred: Deferred[list[Delivery]] = Deferred()


@implementer(IChannelLayer)
class Asgi1ChannelLayer:
    """
    See L{IChannelLayer}.

    Capacity and expiry are the layer's own.  A group's message comes out once
    for each member, as the layer sends it.
    """

    settles = False

    def __init__(
        self, layer: Any, reactor: Any, *, max_message_size: int = MAX_MESSAGE_SIZE
    ) -> None:
        """
        @param layer: an object with the methods of the ASGI 1 specification.
        @param reactor: what this lives on; L{None} in a process that runs
            none, where only the blocking face is of use.
        @param max_message_size: bytes that a message may hold.
        """
        self._calls = Asgi1Calls(layer, max_message_size)
        self.extensions = frozenset(self._calls.extensions)
        self.expiry = self._calls.expiry
        self.group_expiry = self._calls.group_expiry
        self._reactor = reactor
        self._lane = Lane(reactor, self._calls.name)
        self._listeners: dict[tuple[str, ...], Listener] = {}
        self._readers: Readers[Waiting] = Readers()
        self._by_channels: dict[tuple[str, ...], dict[Waiting, None]] = {}
        self._kept: dict[str, deque[tuple[float, str, SealedMessage]]] = {}
        self._timer: IDelayedCall | None = None
        self._closing: Deferred[None] | None = None
        self._closed = False
        self._finished = False

    def blocking_face(self, must_not_wait: Callable[[], bool]) -> IBlockingChannelLayer:
        """
        This layer for threads, without a trip to the reactor.

        @param must_not_wait: whether the calling thread is the reactor's.
        """
        return Asgi1Face(self._calls, must_not_wait, lambda: self._closed, self._sent)

    # Sending

    def send(self, channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        """See L{IChannelLayer}: C{receipt} is ignored."""
        return self._checked(lambda: self._put(check_channel(channel), seal(message)))

    def send_batch(
        self, operations: Sequence[Operation], settled: Sequence[Delivery] = ()
    ) -> Deferred[list[ChannelLayerError | None]]:
        """See L{IChannelLayer}: one trip to the thread, and there call by call."""
        try:
            # A message is the sender's own again when this returns.
            sealed = [_sealed(operation) for operation in operations]
        except Exception as error:
            return fail(error)
        return self._checked(lambda: self._lane.call(self._put_all, sealed))

    def send_group(self, group: str, message: Message) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._checked(
            lambda: self._lane.call(self._put_group, check_group(group), seal(message))
        )

    # Receiving

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        """
        See L{IChannelLayer}.

        Those who wait for the same channels share one thread.
        """
        try:
            names = tuple(dict.fromkeys(check_all_receivable(channels)))
            if limit < 1:
                raise ValueError(f"limit must be at least 1, not {limit!r}")
            self._check_open()
            present = self._take_kept(names, limit)
            if present:
                return succeed(present)
            waiting = Waiting(tuple(sorted(names)), limit)
            self._wait(waiting)
        except (ChannelLayerError, ValueError) as error:
            return fail(error)
        return waiting.deferred

    def _wait(self, waiting: Waiting) -> None:
        """
        Let a receive wait.

        @raise LayerUnavailable: there are too many threads for another.
        """
        names = waiting.channels
        if names and names not in self._listeners and len(self._listeners) >= MAX_LISTENERS:
            raise LayerUnavailable(
                f"{len(self._listeners)} sets of channels are waited for already, each by a "
                f"thread: receive from several channels at once"
            )
        waiting.deferred = Deferred(lambda _: self._stop_waiting(waiting))
        self._readers.add(waiting)
        self._by_channels.setdefault(names, {})[waiting] = None
        self._ask(names)

    def _stop_waiting(self, waiting: Waiting) -> None:
        names = waiting.channels
        if self._readers.remove(waiting):
            same = self._by_channels[names]
            del same[waiting]
            if not same:
                del self._by_channels[names]
            self._ask(names)

    def _ask(self, names: tuple[str, ...]) -> None:
        """Tell the thread for C{names} how much is wanted, and start it if need be."""
        first = next(iter(self._by_channels.get(names, ())), None)
        limit = 0 if first is None else first.limit
        listener = self._listeners.get(names)
        alive = listener is not None and listener.want(limit)
        if alive or not limit or not names:
            return
        listener = self._listeners[names] = Listener(
            self._calls, names, self._heard, self._listener_ended
        )
        listener.want(limit)
        listener.start()

    def _heard(self, listener: Listener, taken: Taken, error: ChannelLayerError | None) -> None:
        """In a listener's thread: something has come."""
        if self._finished:
            self._return_all(taken)
        else:
            self._reactor.callFromThread(self._arrived, listener, taken, error)

    def _arrived(self, listener: Listener, taken: Taken, error: ChannelLayerError | None) -> None:
        now = self._reactor.seconds()
        for channel, message in taken:
            self._kept.setdefault(mailbox_of(channel), deque()).append((now, channel, message))
        if self._closed:
            return
        for mailbox in {mailbox_of(channel) for channel, _ in taken}:
            self._serve(mailbox)
        if error is not None:
            for waiting in list(self._by_channels.get(listener.names, ())):
                self._stop_waiting(waiting)
                waiting.deferred.errback(error)
        self._ask(listener.names)
        self._keep_no_longer_than_needed()

    def _serve(self, mailbox: str) -> None:
        """Hand what is kept of C{mailbox} to those who wait for it."""
        while mailbox in self._kept:
            waiting = self._readers.first(mailbox)
            if waiting is None:
                return
            deliveries = self._take_kept(waiting.channels, waiting.limit)
            self._stop_waiting(waiting)
            waiting.deferred.callback(deliveries)

    def _take_kept(self, names: Iterable[str], limit: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for name in names if self._kept else ():
            kept = self._kept.get(name)
            while kept and len(deliveries) < limit:
                _, channel, message = kept.popleft()
                deliveries.append(Delivery((channel,), message))
            if kept is not None and not kept:
                del self._kept[name]
        return deliveries

    # What nobody here waits for

    def _keep_no_longer_than_needed(self) -> None:
        if self._kept and self._timer is None:
            self._timer = self._reactor.callLater(KEPT_FOR, self._put_back)

    def _put_back(self) -> None:
        self._timer = None
        late = self._reactor.seconds() - KEPT_FOR
        messages: Taken = []
        for mailbox, kept in list(self._kept.items()):
            while kept and kept[0][0] <= late:
                messages.append(kept.popleft()[1:])
            if not kept:
                del self._kept[mailbox]
        if messages:
            self._lane.call(self._return_all, messages).addErrback(self._not_returned, messages)
        self._keep_no_longer_than_needed()

    def _return_all(self, messages: Taken) -> None:
        """In a thread: put messages back at the end of their channels."""
        for channel, message in messages:
            try:
                self._calls.put(channel, message)
            except ChannelLayerError as error:
                self._not_returned(Failure(error), [(channel, message)])  # type: ignore[no-untyped-call]
            self._sent(mailbox_of(channel))

    def _not_returned(self, failure: Failure, messages: Taken) -> None:
        for channel, _ in messages:
            self._calls.count("messages_lost_count", channel)
            _log.error(
                "A message for {channel} that nobody here waited for is lost: {error}",
                channel=channel,
                error=failure.getErrorMessage(),
            )

    # Names and groups

    def new_channel(self, pattern: str) -> Deferred[str]:
        """See L{IChannelLayer}."""
        return self._checked(lambda: succeed(self._calls.new_channel(check_pattern(pattern))))

    def group_add(self, group: str, channel: str) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._checked(
            lambda: self._lane.call(
                self._calls.add_member, check_group(group), check_channel(channel)
            )
        )

    def group_discard(self, group: str, channel: str) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._checked(
            lambda: self._lane.call(
                self._calls.discard_member, check_group(group), check_channel(channel)
            )
        )

    def group_channels(self, group: str) -> Deferred[list[str]]:
        """See L{IChannelLayer}."""
        return self._checked(lambda: self._lane.call(self._calls.members, check_group(group)))

    # The rest

    def flush(self) -> Deferred[None]:
        """See L{IChannelLayer}."""

        def clear() -> Deferred[None]:
            self._kept.clear()
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

        @return: fires when the layer's calls have come back and what they
            brought is in the layer again, or after L{CLOSE_PATIENCE}.
        """
        if self._closing is None:
            self._closing = Deferred()
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            for waiting in self._readers.remove_all():
                waiting.deferred.errback(_closed())
            self._by_channels.clear()
            for listener in self._listeners.values():
                listener.close()
            if self._listeners:
                self._timer = self._reactor.callLater(CLOSE_PATIENCE, self._lose_patience)
            else:
                self._finish()
        # A Deferred of its own for each caller.
        done: Deferred[None] = Deferred()
        self._closing.addCallback(partial(_pass_on, done))
        return done

    def _listener_ended(self, listener: Listener) -> None:
        """In its thread."""
        if self._finished:
            return
        self._reactor.callFromThread(self._forget_listener, listener)

    def _forget_listener(self, listener: Listener) -> None:
        if self._listeners.get(listener.names) is listener:
            del self._listeners[listener.names]
        if self._closed and not self._listeners and not self._finished:
            self._finish()

    def _lose_patience(self) -> None:
        self._timer = None
        _log.warn(
            "{layer} still blocks after {seconds} s; a message that it gives now is put back",
            layer=self._calls.name,
            seconds=CLOSE_PATIENCE,
        )
        self._finish()

    def _finish(self) -> None:
        """All listeners have ended, or are waited for no longer."""
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        messages = [one[1:] for kept in self._kept.values() for one in kept]
        self._kept.clear()
        if messages:
            self._lane.call(self._return_all, messages).addErrback(self._not_returned, messages)
        assert self._closing is not None
        self._lane.close().addCallback(self._closing.callback)

    # Inside

    def _put(self, channel: str, message: SealedMessage) -> Deferred[None]:
        return self._lane.call(self._put_one, channel, message)

    def _put_one(self, channel: str, message: SealedMessage) -> None:
        """In the lane's thread."""
        self._calls.put(channel, message)
        self._sent(mailbox_of(channel))

    def _put_group(self, group: str, message: SealedMessage) -> None:
        """In the lane's thread."""
        self._calls.put_group(group, message)
        self._sent(None)

    def _put_all(
        self, operations: Sequence[Operation | ChannelLayerError]
    ) -> list[ChannelLayerError | None]:
        """In the lane's thread."""
        errors = [
            one if isinstance(one, ChannelLayerError) else self._calls.attempt(one)
            for one in operations
        ]
        self._sent(None)
        return errors

    def _sent(self, mailbox: str | None) -> None:
        """Any thread: C{mailbox} may have a message; L{None} for any mailbox."""
        for names, listener in list(self._listeners.items()):
            if mailbox is None or mailbox in names:
                listener.poke()

    def _checked(self, start: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """Begin a call, if its arguments are good and the layer is open."""
        try:
            self._check_open()
            return start()
        except ChannelLayerError as error:
            return fail(error)

    def _check_open(self) -> None:
        if self._closed:
            raise _closed()


def _sealed(operation: Operation) -> Operation | ChannelLayerError:
    """C{operation} with its message sealed; or what is wrong with that."""
    try:
        if isinstance(operation, Send):
            return Send(operation.channel, seal(operation.message))
        if hasattr(operation, "message"):
            return type(operation)(operation.group, seal(operation.message))
    except ChannelLayerError as error:
        return error
    return operation


def _closed() -> LayerUnavailable:
    return LayerUnavailable("this channel layer has been closed: make another")


def _pass_on(done: Deferred[None], result: None) -> None:
    done.callback(result)
