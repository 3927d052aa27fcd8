"""The blocking face of a third-party layer: it blocks by itself, so calls go straight to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from zope.interface import implementer

from chanserv.core.batch import attempt_all
from chanserv.errors import ChannelFull, ChannelLayerError, LayerUnavailable, MessageTooLarge
from chanserv.interfaces import IBlockingChannelLayer
from chanserv.layers.asgi1_calls import Asgi1Calls
from chanserv.layers.asgi1_threads import (
    BLOCKED_AT_LEAST,
    LEAST_PAUSE,
    MOST_PAUSE,
    PAUSE_GROWTH,
)
from chanserv.layers.io_thread import PATIENCE, refusal
from chanserv.messages import Message, Operation, SealedMessage, seal, thaw
from chanserv.names import (
    check_all_receivable,
    check_channel,
    check_group,
    mailbox_of,
)

T = TypeVar("T")

SHORTEST_BLOCK: Final = 10.0
"""Seconds of patience from which on the layer may block on its own terms, which
it does not tell: the old ones take five.  A shorter time-out is kept by looking
again and again."""


@implementer(IBlockingChannelLayer)
class Asgi1Face:
    """
    See L{IBlockingChannelLayer}.

    Threads call the layer at the same time, as it lets them; no call goes
    through the reactor.
    """

    settles = False
    ChannelFull: type[ChannelLayerError] = ChannelFull
    MessageTooLarge: type[ChannelLayerError] = MessageTooLarge

    def __init__(
        self,
        calls: Asgi1Calls,
        must_not_wait: Callable[[], bool],
        is_closed: Callable[[], bool],
        sent: Callable[[str | None], object],
    ) -> None:
        """
        @param must_not_wait: whether the calling thread is the reactor's.
        @param is_closed: whether the layer has been closed.
        @param sent: told of each mailbox that may have a message now; of
            L{None}, where it may be any.
        """
        self.extensions: Collection[str] = frozenset(calls.extensions)
        self.expiry: float = calls.expiry
        self.group_expiry: float = calls.group_expiry
        self._calls = calls
        self._must_not_wait = must_not_wait
        self._is_closed = is_closed
        self._sent = sent

    def send(self, channel: str, message: Message, receipt: str | None = None) -> None:
        """See L{IBlockingChannelLayer}: C{receipt} is ignored."""
        self._check()
        self._do(self._calls.put, check_channel(channel), seal(message))
        self._sent(mailbox_of(channel))

    def send_batch(self, operations: Sequence[Operation]) -> list[ChannelLayerError | None]:
        """See L{IBlockingChannelLayer}."""
        errors = attempt_all(operations, lambda one: self._do(self._calls.attempt, one))
        self._sent(None)
        return errors

    def receive(
        self, channels: Sequence[str], block: bool = False, timeout: float | None = None
    ) -> tuple[str, dict[str, object]] | tuple[None, None]:
        """See L{IBlockingChannelLayer}."""
        self._check()
        names = list(check_all_receivable(channels))
        patience = 0.0 if not block else PATIENCE if timeout is None else timeout
        found = self._wait(names, patience, timeout is None or patience >= SHORTEST_BLOCK)
        if found is None:
            return None, None
        return found[0], thaw(found[1])

    def new_channel(self, pattern: str) -> str:
        """See L{IBlockingChannelLayer}."""
        return self._do(self._calls.new_channel, pattern)

    def group_add(self, group: str, channel: str) -> None:
        """See L{IBlockingChannelLayer}."""
        self._do(self._calls.add_member, check_group(group), check_channel(channel))

    def group_discard(self, group: str, channel: str) -> None:
        """See L{IBlockingChannelLayer}."""
        self._do(self._calls.discard_member, check_group(group), check_channel(channel))

    def group_channels(self, group: str) -> list[str]:
        """See L{IBlockingChannelLayer}."""
        return self._do(self._calls.members, check_group(group))

    def send_group(self, group: str, message: Message) -> None:
        """See L{IBlockingChannelLayer}."""
        self._do(self._calls.put_group, check_group(group), seal(message))
        self._sent(None)

    def flush(self) -> None:
        """See L{IBlockingChannelLayer}."""
        self._do(self._calls.clear)

    def global_statistics(self) -> Mapping[str, int]:
        """See L{IBlockingChannelLayer}."""
        return self._do(self._calls.totals)

    def channel_statistics(self, channel: str) -> Mapping[str, int]:
        """See L{IBlockingChannelLayer}."""
        return self._do(self._calls.counts, mailbox_of(check_channel(channel)))

    def _wait(
        self, names: list[str], patience: float, may_block: bool
    ) -> tuple[str, SealedMessage] | None:
        """Take one message within C{patience}."""
        end = time.monotonic() + patience
        pause = LEAST_PAUSE
        while True:
            found = self._do(self._calls.take, list(names), False) if names else None
            begun = time.monotonic()
            if found is not None or begun >= end:
                return found
            if may_block and names:
                found = self._do(self._calls.take, list(names), True)
                if found is not None:
                    return found
            now = time.monotonic()
            if now - begun < BLOCKED_AT_LEAST:
                time.sleep(max(0.0, min(pause, end - now)))
                pause = min(pause * PAUSE_GROWTH, MOST_PAUSE)

    def _do(self, operation: Callable[..., T], *args: Any) -> T:
        self._check()
        return operation(*args)

    def _check(self) -> None:
        """Hold that this thread may wait, and that there is something to wait for."""
        if self._must_not_wait():
            raise refusal()
        if self._is_closed():
            raise LayerUnavailable("this channel layer has been closed: make another")
