"""
The blocking face of any layer: each call is a trip to the reactor's thread.

Everything that decides happens there, time-outs included, so that no message
falls between a thread that gives up and a Deferred that fires.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, Generic, TypeVar

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
"""Seconds that a C{receive} which does not block gives a layer that cannot say
at once whether anything is there: a trip to a store on the same network, many
times over."""

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
        must_not_wait: Callable[[], bool] | None = None,
    ) -> None:
        """
        @param layer: whose face this is.
        @param reactor: what it lives on: C{callFromThread}, C{callLater}.
        @param glance: seconds for a C{receive} that does not block.
        @param answer_timeout: seconds for any call, over those it may wait,
            after which it raises L{LayerUnavailable}.
        @param must_not_wait: whether the calling thread is the one to refuse;
            L{None} where C{reactor} is the process's own.
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
        self._must_not_wait = must_not_wait
        self._pid: int | None = None
        self._leftovers: dict[str, deque[tuple[str, SealedMessage]]] = {}
        # A signal may come while the main thread has it, and call this again.
        self._lock = threading.RLock()

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
        if found is None and block:
            patience = PATIENCE if timeout is None else timeout
            found = self._do(lambda: self._take(channels, patience), patience, self._keep)
        elif found is None:
            found = self._do(lambda: self._look(channels), self._glance, self._keep)
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

    def _do(
        self,
        start: Callable[[], Deferred[T]],
        patience: float = 0.0,
        unwanted: Callable[[T], object] | None = None,
    ) -> T:
        """
        Call C{start} on the reactor's thread, and wait for its Deferred.

        @param patience: seconds that it may take by intent.
        @param unwanted: is called there with a result that came after this
            thread had given up: it was interrupted, or had waited too long.
        """
        self._check_thread()
        call = _Call(start, unwanted)
        self._reactor.callFromThread(call.begin)
        try:
            return call.answer.result(patience + self._answer_timeout)
        except BaseException as error:
            if call.failed_with(error):
                raise
            if not call.answer.cancel():
                self._reactor.callFromThread(call.give_up)
            if not isinstance(error, TimeoutError):
                raise
            raise LayerUnavailable(
                f"the reactor's thread has not answered in {self._answer_timeout:g} s: it has "
                f"stopped, or something blocks it"
            ) from None

    def _check_thread(self) -> None:
        """
        Hold that another thread can answer.

        None can in a process that was forked from the one that runs the
        reactor; and the main thread before C{reactor.run()} would wait for itself.
        """
        self._check_process()
        if self._must_not_wait is not None:
            if self._must_not_wait():
                raise refusal()
            return
        main = threading.current_thread() is threading.main_thread()
        if self._runs_here() or (main and not self._reactor.running):
            raise refusal()

    def _check_process(self) -> None:
        pid = os.getpid()
        if self._pid is None and self._reactor.running:
            # Not before: a daemon forks after its layers are made, and goes on in the child.
            self._pid = pid
        if self._pid not in (None, pid):
            raise LayerUnavailable(
                f"this is the channel layer of process {self._pid}, from which this one was "
                f"forked: ask for the layer anew here"
            )

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

    def _look(self, channels: Sequence[str]) -> Deferred[tuple[str, SealedMessage] | None]:
        """
        Take one message if there is one; on the reactor's thread.

        Only a layer with C{receive_now} can say at once that there is none.
        """
        receive_now = getattr(self._layer, "receive_now", None)
        if receive_now is None:
            return self._take(channels, self._glance)
        looking: Deferred[list[Delivery]] = receive_now(channels, 1)
        return looking.addCallback(lambda found: self._hand_over(found) if found else None)

    def _hand_over(self, deliveries: list[Delivery]) -> tuple[str, SealedMessage]:
        delivery = deliveries[0]
        delivery.settle()
        first, *others = delivery.recipients
        if others:
            with self._lock:
                left = self._leftovers.setdefault(mailbox_of(first), deque())
                left.extend((channel, delivery.message) for channel in others)
        return first, delivery.message

    def _keep(self, found: tuple[str, SealedMessage] | None) -> None:
        """Keep what a thread did not wait for, as the next that C{receive} gives."""
        if found is not None:
            with self._lock:
                self._leftovers.setdefault(mailbox_of(found[0]), deque()).appendleft(found)

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


class _Call(Generic[T]):
    """
    One call: a thread waits for its C{answer}, the reactor's thread does it.
    """

    def __init__(
        self, start: Callable[[], Deferred[T]], unwanted: Callable[[T], object] | None
    ) -> None:
        self.answer: Future[T] = Future()
        self._start = start
        self._unwanted = unwanted
        self._doing: Deferred[Any] | None = None
        self._given_up = False

    def failed_with(self, error: BaseException) -> bool:
        """Whether C{error} is the call's own, and not its caller's."""
        answer = self.answer
        return answer.done() and not answer.cancelled() and answer.exception() is error

    def begin(self) -> None:
        """Do it, unless nobody waits any more; on the reactor's thread."""
        if self.answer.set_running_or_notify_cancel():
            self._doing = maybeDeferred(self._start)
            self._doing.addCallbacks(self._done, self._failed)

    def give_up(self) -> None:
        """Nobody waits any more; on the reactor's thread."""
        self._given_up = True
        assert self._doing is not None
        if self.answer.done():
            if self.answer.exception() is None:
                self._drop(self.answer.result())
        else:
            self._doing.cancel()

    def _done(self, result: T) -> None:
        if self._given_up:
            self._drop(result)
        else:
            self.answer.set_result(result)

    def _failed(self, failure: Failure) -> None:
        self.answer.set_exception(failure.value)

    def _drop(self, result: T) -> None:
        if self._unwanted is not None:
            self._unwanted(result)


def _nothing(failure: Failure) -> None:
    """Nothing came before the time was up; any other failure goes on."""
    failure.trap(CancelledError)  # type: ignore[no-untyped-call]
