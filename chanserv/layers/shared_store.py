"""
The memory layer's operations, checked: what both of its faces stand on.

After each of them the caller calls C{attend} or C{attend_from_thread}: see
L{chanserv.layers.served_store}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from chanserv.core.batch import attempt_all
from chanserv.core.receivable import ReceivableNames
from chanserv.errors import ChannelLayerError, InvalidMessage
from chanserv.layers.served_store import DeferredReader, ServedStore, closed
from chanserv.messages import (
    Delivery,
    Forget,
    GroupSend,
    Message,
    Operation,
    SealedMessage,
    Send,
    seal,
)
from chanserv.names import (
    check_channel,
    check_group,
    check_receipt,
    made_up,
    mailbox_of,
)

T = TypeVar("T")


class SharedStore(ServedStore):
    """
    The operations of a channel layer, for any thread but where they say
    otherwise.  They raise L{ChannelLayerError}s.
    """

    def __init__(self, **config: Any) -> None:
        """
        @param config: see L{ServedStore}.
        """
        super().__init__(**config)
        self._names = ReceivableNames()

    def put(self, channel: str, message: Message, receipt: str | None) -> None:
        """Check and put one message; see L{Store.put}."""
        check_channel(channel)
        if receipt is not None:
            check_receipt(receipt)
        sealed = seal(message)
        with self._lock:
            if self._closed:
                raise closed()
            self._store.put(channel, sealed, receipt, self._now())

    def put_group(self, group: str, message: Message) -> None:
        """Check and put one message for a group; see L{Store.put_group}."""
        check_group(group)
        sealed = seal(message)
        with self._lock:
            if self._closed:
                raise closed()
            self._store.put_group(group, sealed, self._now())

    def put_all(self, operations: Iterable[Operation]) -> list[ChannelLayerError | None]:
        """Do each operation; see L{attempt_all}."""
        return attempt_all(operations, self._attempt)

    def receive(self, channels: Iterable[str], limit: int) -> list[Delivery] | DeferredReader:
        """
        Check, and take what is there or start to wait; see L{take}.

        On the reactor's thread.
        """
        names = self._names.checked(channels)
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit!r}")
        return self.take(names, limit)

    def receive_one(
        self, channels: Iterable[str], timeout: float | None
    ) -> tuple[str, SealedMessage] | None:
        """Check, and take one message; see L{take_one}."""
        return self.take_one(self._names.checked(channels), timeout)

    def new_channel(self, pattern: str) -> str:
        """
        A name after C{pattern} that nobody uses.

        @raise InvalidChannelName: C{pattern} is none, or leaves no room.
        """
        while True:
            channel = made_up(pattern)
            with self._lock:
                if self._closed:
                    raise closed()
                if not self._store.exists(channel):
                    return channel

    def add_member(self, group: str, channel: str) -> None:
        """Check, and begin or renew a membership."""
        check_group(group)
        check_channel(channel)
        self._do(self._store.add_member, group, channel)

    def discard_member(self, group: str, channel: str) -> None:
        """Check, and end a membership."""
        check_group(group)
        check_channel(channel)
        self._do(self._store.discard_member, group, channel)

    def members(self, group: str) -> list[str]:
        """The members of a group."""
        return self._do(self._store.members, check_group(group))

    def totals(self) -> Mapping[str, int]:
        """See L{chanserv.core.store.Store.totals}."""
        return self._do(self._store.totals)

    def counts(self, channel: str) -> Mapping[str, int]:
        """See L{chanserv.core.store.Store.counts}; of a local part, its mailbox's."""
        return self._do(self._store.counts, mailbox_of(check_channel(channel)))

    def clear(self) -> None:
        """Forget all messages, groups and statistics; readers wait on."""
        with self._lock:
            if self._closed:
                raise closed()
            self._store.clear()

    # Inside

    def _do(self, operation: Callable[..., T], *args: str) -> T:
        """Do it under the lock, with the time as the last argument."""
        with self._lock:
            if self._closed:
                raise closed()
            return operation(*args, self._now())

    def _attempt(self, operation: Operation) -> ChannelLayerError | None:
        try:
            if isinstance(operation, Send):
                self.put(operation.channel, operation.message, operation.receipt)
            elif isinstance(operation, GroupSend):
                self.put_group(operation.group, operation.message)
            elif isinstance(operation, Forget):
                self._do(self._store.forget, check_channel(operation.channel))
            else:
                raise InvalidMessage("operation", f"is no Send, GroupSend or Forget: {operation!r}")
        except ChannelLayerError as error:
            return error
        return None
