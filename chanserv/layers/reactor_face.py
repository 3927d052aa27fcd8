"""
The blocking face of any layer: each call is a trip to the reactor's thread.

Everything that decides happens there, time-outs included, so that no message
falls between a thread that gives up and a Deferred that fires.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from chanserv.errors import ChannelFull, ChannelLayerError, LayerUnavailable, MessageTooLarge
from chanserv.interfaces import IBlockingChannelLayer, IChannelLayer
from chanserv.layers.io_thread import PATIENCE, refusal, runs_here
from chanserv.messages import Delivery, Message, Operation, SealedMessage, seal, thaw
from chanserv.names import check_all_receivable, mailbox_of

T = TypeVar("T")

GLANCE: Final = 0.1
"""Seconds that a C{receive} which does not block gives a layer to answer: a
trip to a store on the same network, many times over."""

ANSWER_TIMEOUT: Final = 30.0
"""Seconds after which the reactor is taken for stopped: no healthy one keeps a
thread waiting so long, and a thread that waits for ever keeps a process alive."""


@implementer(IBlockingChannelLayer)
class ReactorFace:
    """
    See L{IBlockingChannelLayer}.

    A group's message comes out of a layer once for all members in a mailbox;
    those that a one-by-one C{receive} has yet to hand out are kept here.
    """

    ChannelFull: type[ChannelLayerError] = ChannelFull
    MessageTooLarge: type[ChannelLayerError] = MessageTooLarge

    def __init__(
        self,
        layer: IChannelLayer,
        reactor: Any,
        glance: float = GLANCE,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        """
        @param layer: whose face this is.
        @param reactor: what it lives on: C{callFromThread}, C{callLater}.
        @param glance: seconds for a C{receive} that does not block.
        @param answer_timeout: seconds for any call, over those it may wait,
            after which it raises L{LayerUnavailable}.
        """
        self.extensions: Collection[str] = layer.extensions
        self.expiry: float = layer.expiry
        self.group_expiry: float = layer.group_expiry
        self.settles: bool = layer.settles
        self._layer = layer
        self._reactor = reactor
        self._glance = glance
        self._answer_timeout = answer_timeout
        self._runs_here = runs_here(reactor)
        self._leftovers: dict[str, deque[tuple[str, SealedMessage]]] = {}
        self._lock = threading.Lock()

    def send(self, channel: str, message: Message, receipt: str | None = None) -> None:
        """See L{IBlockingChannelLayer}."""
        sealed = seal(message)
        self._do(lambda: self._layer.send(channel, sealed, receipt))

    def send_batch(self, operations: Sequence[Operation]) -> list[ChannelLayerError | None]:
        """See L{IBlockingChannelLayer}."""
        return self._do(lambda: self._layer.send_batch(operations))

    def receive(
        self, channels: Sequence[str], block: bool = False, timeout: float | None = None
    ) -> tuple[str, dict[str, object]] | tuple[None, None]:
        """See L{IBlockingChannelLayer}."""
        channels = check_all_receivable(channels)
        self._check_thread()
        found = self._left_over(channels)
        if found is None:
            patience = (PATIENCE if timeout is None else timeout) if block else self._glance
            found = self._do(lambda: self._take(channels, patience), patience)
        if found is None:
            return None, None
        return found[0], thaw(found[1])

    def new_channel(self, pattern: str) -> str:
        """See L{IBlockingChannelLayer}."""
        return self._do(lambda: self._layer.new_channel(pattern))

    def group_add(self, group: str, channel: str) -> None:
        """See L{IBlockingChannelLayer}."""
        self._do(lambda: self._layer.group_add(group, channel))

    def group_discard(self, group: str, channel: str) -> None:
        """See L{IBlockingChannelLayer}."""
        self._do(lambda: self._layer.group_discard(group, channel))

    def group_channels(self, group: str) -> list[str]:
        """See L{IBlockingChannelLayer}."""
        return self._do(lambda: self._layer.group_channels(group))

    def send_group(self, group: str, message: Message) -> None:
        """See L{IBlockingChannelLayer}."""
        sealed = seal(message)
        self._do(lambda: self._layer.send_group(group, sealed))

    def flush(self) -> None:
        """See L{IBlockingChannelLayer}."""
        with self._lock:
            self._leftovers.clear()
        self._do(self._layer.flush)

    def global_statistics(self) -> Mapping[str, int]:
        """See L{IBlockingChannelLayer}."""
        return self._do(self._layer.global_statistics)

    def channel_statistics(self, channel: str) -> Mapping[str, int]:
        """See L{IBlockingChannelLayer}."""
        return self._do(lambda: self._layer.channel_statistics(channel))

    def _do(self, start: Callable[[], Deferred[T]], patience: float = 0.0) -> T:
        """
        Call C{start} on the reactor's thread, and wait for its Deferred.

        @param patience: seconds that it may take by intent.
        """
        self._check_thread()
        answer: Future[T] = Future()

        def begin() -> None:
            if answer.set_running_or_notify_cancel():
                maybeDeferred(start).addCallbacks(
                    answer.set_result, lambda failure: answer.set_exception(failure.value)
                )

        self._reactor.callFromThread(begin)
        try:
            return answer.result(patience + self._answer_timeout)
        except TimeoutError:
            answer.cancel()
            raise LayerUnavailable(
                f"the reactor's thread has not answered in {self._answer_timeout:g} s: it has "
                f"stopped, or something blocks it"
            ) from None

    def _check_thread(self) -> None:
        """
        Hold that another thread can answer.

        The main thread before C{reactor.run()} would wait for itself, too.
        """
        main = threading.current_thread() is threading.main_thread()
        if self._runs_here() or (main and not self._reactor.running):
            raise refusal()

    def _take(
        self, channels: Sequence[str], patience: float
    ) -> Deferred[tuple[str, SealedMessage] | None]:
        """Take one message within C{patience}; on the reactor's thread."""
        receiving = self._layer.receive(channels, 1)
        if receiving.called:
            return receiving.addCallback(self._hand_over)
        giving_up = self._reactor.callLater(patience, receiving.cancel)

        def stop_the_clock(result: Any) -> Any:
            if giving_up.active():
                giving_up.cancel()
            return result

        receiving.addBoth(stop_the_clock)
        return receiving.addCallbacks(self._hand_over, _nothing)

    def _hand_over(self, deliveries: list[Delivery]) -> tuple[str, SealedMessage]:
        delivery = deliveries[0]
        delivery.settle()
        first, *others = delivery.recipients
        if others:
            with self._lock:
                left = self._leftovers.setdefault(mailbox_of(first), deque())
                left.extend((channel, delivery.message) for channel in others)
        return first, delivery.message

    def _left_over(self, channels: Sequence[str]) -> tuple[str, SealedMessage] | None:
        """What an earlier delivery left for one of C{channels}, if anything."""
        with self._lock:
            for channel in channels:
                left = self._leftovers.get(channel)
                if left:
                    found = left.popleft()
                    if not left:
                        del self._leftovers[channel]
                    return found
        return None


def _nothing(failure: Failure) -> None:
    """Nothing came before the time was up; any other failure goes on."""
    failure.trap(CancelledError)  # type: ignore[no-untyped-call]
