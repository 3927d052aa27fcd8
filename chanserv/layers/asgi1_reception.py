"""
Who waits for what out of a layer that blocks, and what becomes of the rest.

A call that receives cannot be interrupted.  When the receive that it was made
for is cancelled, or served by another, and the call then brings a message, that
message is I{kept} for the next receive of its channel.  If none comes within
L{KEPT_FOR} it is put back into the layer, where it is the last in line.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from chanserv.core.readers import Readers
from chanserv.errors import ChannelLayerError, LayerUnavailable
from chanserv.layers.asgi1_calls import Asgi1Calls
from chanserv.layers.asgi1_threads import CLOSE_PATIENCE, MAX_LISTENERS, Listener, Taken
from chanserv.messages import Delivery, SealedMessage
from chanserv.names import mailbox_of

KEPT_FOR: Final = 0.5
"""Seconds that a message nobody here waits for is kept: a reader that changes
its channels is back at once, and other processes should not wait for long."""

_log = Logger()


class Waiting:
    """
    A receive that waits.

    @ivar channels: what it waits for, each once, in a fixed order.
    """

    __slots__ = ("channels", "deferred", "limit")

    def __init__(self, channels: tuple[str, ...], limit: int) -> None:
        self.channels = channels
        self.limit = limit
        self.deferred: Deferred[list[Delivery]] = Deferred()


class Kept:
    """Messages that have come for nobody yet, by mailbox."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[tuple[float, str, SealedMessage]]] = {}

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __contains__(self, mailbox: str) -> bool:
        return mailbox in self._queues

    def add(self, taken: Taken, now: float) -> None:
        """Keep messages that have come at C{now}."""
        for channel, message in taken:
            queue = self._queues.setdefault(mailbox_of(channel), deque())
            queue.append((now, channel, message))

    def take(self, mailboxes: Iterable[str], limit: int) -> list[Delivery]:
        """Take up to C{limit} messages."""
        deliveries: list[Delivery] = []
        for mailbox in mailboxes if self._queues else ():
            queue = self._queues.get(mailbox)
            while queue and len(deliveries) < limit:
                _, channel, message = queue.popleft()
                deliveries.append(Delivery((channel,), message))
            if queue is not None and not queue:
                del self._queues[mailbox]
        return deliveries

    def take_older(self, than: float) -> Taken:
        """Take all that has come at or before that time."""
        taken: Taken = []
        for mailbox, queue in list(self._queues.items()):
            while queue and queue[0][0] <= than:
                _, channel, message = queue.popleft()
                taken.append((channel, message))
            if not queue:
                del self._queues[mailbox]
        return taken

    def clear(self) -> None:
        """Keep nothing."""
        self._queues.clear()


class Reception:
    """
    The receives of one layer.

    Its methods are called on the reactor's thread, but for L{sent}.
    """

    def __init__(
        self,
        calls: Asgi1Calls,
        reactor: Any,
        put_back: Callable[[Taken], Deferred[None]],
    ) -> None:
        """
        @param calls: the layer.
        @param put_back: puts messages back into it, without blocking the
            reactor, and never fails.
        """
        self._calls = calls
        self._reactor = reactor
        self._put_back = put_back
        self._kept = Kept()
        self._readers: Readers[Waiting] = Readers()
        self._by_channels: dict[tuple[str, ...], dict[Waiting, None]] = {}
        self._listeners: dict[tuple[str, ...], Listener] = {}
        self._leaving: set[Listener] = set()
        self._timer: IDelayedCall | None = None
        self._closed: Deferred[None] | None = None
        self._finished = False

    def receive(
        self, names: Iterable[str], limit: int
    ) -> list[Delivery] | Deferred[list[Delivery]]:
        """
        Take what is kept, or wait.

        @raise LayerUnavailable: there are too many threads for another.
        """
        channels = tuple(sorted(set(names)))
        present = self._kept.take(channels, limit)
        if present:
            return present
        if channels and channels not in self._listeners:
            self._make_room()
        waiting = Waiting(channels, limit)
        waiting.deferred = Deferred(lambda _: self._leave(waiting))
        self._readers.add(waiting)
        self._by_channels.setdefault(channels, {})[waiting] = None
        self._ask(channels)
        return waiting.deferred

    def sent(self, mailbox: str | None) -> None:
        """Any thread: C{mailbox} may have a message now; L{None} for any mailbox."""
        for names, listener in list(self._listeners.items()):
            if mailbox is None or mailbox in names:
                listener.poke()

    def flush(self) -> None:
        """Forget what is kept."""
        self._kept.clear()

    def close(self, error: ChannelLayerError) -> Deferred[None]:
        """
        Fail all who wait with C{error}, and let the threads end.  Called once.

        @return: fires when they have ended, or after L{CLOSE_PATIENCE}, and
            what they brought is back in the layer.
        """
        closed = self._closed = Deferred()
        self._stop_the_clock()
        for waiting in self._readers.remove_all():
            waiting.deferred.errback(error)
        self._by_channels.clear()
        for listener in self._listeners.values():
            listener.close()
        if self._listeners or self._leaving:
            self._timer = self._reactor.callLater(CLOSE_PATIENCE, self._lose_patience)
        else:
            self._finish()
        return closed

    # Who waits

    def _leave(self, waiting: Waiting) -> None:
        """Let it wait no longer."""
        if self._readers.remove(waiting):
            same = self._by_channels[waiting.channels]
            del same[waiting]
            if not same:
                del self._by_channels[waiting.channels]
            self._ask(waiting.channels)

    def _make_room(self) -> None:
        """
        See that there can be another thread, if need be in place of an idle one.

        @raise LayerUnavailable: all are busy.
        """
        if len(self._listeners) < MAX_LISTENERS:
            return
        idle = (one for one in self._listeners if one not in self._by_channels)
        longest = next(idle, None)
        if longest is not None:
            # It may be in a call that comes back later.
            listener = self._listeners.pop(longest)
            listener.close()
            self._leaving.add(listener)
        if longest is None or len(self._leaving) > MAX_LISTENERS:
            raise LayerUnavailable(
                f"{MAX_LISTENERS} sets of channels are waited for already, each by a thread: "
                f"receive from several channels at once"
            )

    def _ask(self, channels: tuple[str, ...]) -> None:
        """Tell the thread of C{channels} how much is wanted; start it if need be."""
        first = next(iter(self._by_channels.get(channels, ())), None)
        limit = 0 if first is None else first.limit
        listener = self._listeners.get(channels)
        if listener is not None and listener.want(limit):
            return
        if limit and channels and self._closed is None:
            listener = Listener(self._calls, channels, self._heard, self._ended)
            self._listeners[channels] = listener
            listener.want(limit)
            listener.start()

    # What comes

    def _heard(self, listener: Listener, taken: Taken, error: ChannelLayerError | None) -> None:
        """In the listener's thread."""
        self._reactor.callFromThread(self._arrived, listener, taken, error)

    def _arrived(self, listener: Listener, taken: Taken, error: ChannelLayerError | None) -> None:
        if self._finished:
            # It has blocked for longer than close could wait.
            self._return_by_thread(taken)
            return
        self._kept.add(taken, self._reactor.seconds())
        if self._closed is not None:
            return
        for mailbox in dict.fromkeys(mailbox_of(channel) for channel, _ in taken):
            self._serve(mailbox)
        if error is not None:
            for waiting in list(self._by_channels.get(listener.names, ())):
                self._leave(waiting)
                waiting.deferred.errback(error)
        self._ask(listener.names)
        self._watch_what_is_kept()

    def _serve(self, mailbox: str) -> None:
        """Hand what is kept of C{mailbox} to those who wait for it."""
        while mailbox in self._kept:
            waiting = self._readers.first(mailbox)
            if waiting is None:
                return
            deliveries = self._kept.take(waiting.channels, waiting.limit)
            self._leave(waiting)
            waiting.deferred.callback(deliveries)

    def _watch_what_is_kept(self) -> None:
        if self._kept and self._timer is None and self._closed is None:
            self._timer = self._reactor.callLater(KEPT_FOR, self._return_old)

    def _return_old(self) -> None:
        self._timer = None
        old = self._kept.take_older(self._reactor.seconds() - KEPT_FOR)
        if old:
            self._put_back(old)
        self._watch_what_is_kept()

    # The end

    def _ended(self, listener: Listener) -> None:
        """In the listener's thread, after all else."""
        self._reactor.callFromThread(self._forget, listener)

    def _forget(self, listener: Listener) -> None:
        self._leaving.discard(listener)
        if self._listeners.get(listener.names) is listener:
            del self._listeners[listener.names]
        if self._closed is None or self._finished:
            return
        if not self._listeners and not self._leaving:
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
        """Nothing comes any more, or nobody waits for it any longer."""
        self._finished = True
        self._stop_the_clock()
        assert self._closed is not None
        self._put_back(self._kept.take_older(float("inf"))).addCallback(self._closed.callback)

    def _return_by_thread(self, taken: Taken) -> None:
        """Put back what comes when all else has ended."""
        if taken:
            threading.Thread(target=self._calls.put_back, args=(taken,), daemon=True).start()

    def _stop_the_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
