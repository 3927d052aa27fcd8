"""The memory layer's blocking face: threads work on its store directly."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from zope.interface import implementer

from chanserv.errors import ChannelFull, ChannelLayerError, MessageTooLarge
from chanserv.interfaces import IBlockingChannelLayer, IChannelLayer
from chanserv.layers.io_thread import PATIENCE, refusal
from chanserv.layers.shared_store import SharedStore
from chanserv.messages import Message, Operation, thaw

T = TypeVar("T")


@implementer(IBlockingChannelLayer)
class MemoryFace:
    """
    See L{IBlockingChannelLayer}.

    A call holds the store's lock for some microseconds, and goes nowhere; only
    C{receive} with C{block} waits.
    """

    ChannelFull: type[ChannelLayerError] = ChannelFull
    MessageTooLarge: type[ChannelLayerError] = MessageTooLarge

    def __init__(
        self, shared: SharedStore, layer: IChannelLayer, must_not_wait: Callable[[], bool]
    ) -> None:
        """
        @param layer: whose face this is.
        @param must_not_wait: whether the calling thread is the reactor's.
        """
        self.extensions: Collection[str] = layer.extensions
        self.expiry: float = layer.expiry
        self.group_expiry: float = layer.group_expiry
        self.settles: bool = layer.settles
        self._shared = shared
        self._must_not_wait = must_not_wait

    def send(self, channel: str, message: Message, receipt: str | None = None) -> None:
        """See L{IBlockingChannelLayer}."""
        self._do(self._shared.put, channel, message, receipt)

    def send_batch(self, operations: Sequence[Operation]) -> list[ChannelLayerError | None]:
        """See L{IBlockingChannelLayer}."""
        return self._do(self._shared.put_all, operations)

    def receive(
        self, channels: Sequence[str], block: bool = False, timeout: float | None = None
    ) -> tuple[str, dict[str, object]] | tuple[None, None]:
        """See L{IBlockingChannelLayer}."""
        patience = PATIENCE if timeout is None else timeout
        found = self._do(self._shared.receive_one, channels, patience if block else None)
        if found is None:
            return None, None
        channel, message = found
        return channel, thaw(message)

    def new_channel(self, pattern: str) -> str:
        """See L{IBlockingChannelLayer}."""
        return self._do(self._shared.new_channel, pattern)

    def group_add(self, group: str, channel: str) -> None:
        """See L{IBlockingChannelLayer}."""
        self._do(self._shared.add_member, group, channel)

    def group_discard(self, group: str, channel: str) -> None:
        """See L{IBlockingChannelLayer}."""
        self._do(self._shared.discard_member, group, channel)

    def group_channels(self, group: str) -> list[str]:
        """See L{IBlockingChannelLayer}."""
        return self._do(self._shared.members, group)

    def send_group(self, group: str, message: Message) -> None:
        """See L{IBlockingChannelLayer}."""
        self._do(self._shared.put_group, group, message)

    def flush(self) -> None:
        """See L{IBlockingChannelLayer}."""
        self._do(self._shared.clear)

    def global_statistics(self) -> Mapping[str, int]:
        """See L{IBlockingChannelLayer}."""
        return self._do(self._shared.totals)

    def channel_statistics(self, channel: str) -> Mapping[str, int]:
        """See L{IBlockingChannelLayer}."""
        return self._do(self._shared.counts, channel)

    def _do(self, operation: Callable[..., T], *args: Any) -> T:
        if self._must_not_wait():
            raise refusal()
        try:
            return operation(*args)
        finally:
            self._shared.attend_from_thread()
