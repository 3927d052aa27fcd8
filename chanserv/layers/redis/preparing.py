"""Operations, checked and encoded, before anything of a batch is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chanserv.codec import Codec
from chanserv.errors import ChannelLayerError, InvalidMessage, MessageTooLarge
from chanserv.layers.redis.entry import rest_of_entry
from chanserv.layers.redis.places import Mailboxes, Places
from chanserv.layers.redis.protocol import Word
from chanserv.layers.redis.space import Space
from chanserv.messages import Forget, GroupSend, Message, Operation, SealedMessage, Send, seal
from chanserv.names import check_channel, check_group, check_receipt, mailbox_of

if TYPE_CHECKING:
    from chanserv.layers.redis.shard import Shard


class Prepared:
    """
    One operation.

    @ivar kind: its type.
    @ivar shard: where it goes.
    @ivar target: the mailbox of a send, the group by its name in the store, or
        the channel to forget.
    @ivar words: what it is in C{lua/operate.lua}.
    """

    __slots__ = ("capacity", "kind", "payload", "receipt", "shard", "target", "words")

    def __init__(self, kind: type[Operation], shard: Shard, target: str) -> None:
        self.kind = kind
        self.shard = shard
        self.target = target
        self.words: Sequence[Word] = ()
        self.capacity = 0
        self.payload = b""
        self.receipt: str | None = None


class Preparing:
    """Prepares what one layer object sends."""

    def __init__(
        self,
        places: Places,
        mailboxes: Mailboxes,
        space: Space,
        codec: Codec,
        max_message_size: int,
    ) -> None:
        self._places = places
        self._mailboxes = mailboxes
        self._space = space
        self._codec = codec
        self._max_message_size = max_message_size

    def operation(self, operation: Operation) -> Prepared:
        """
        Prepare any operation.

        @raise ChannelLayerError: it cannot be sent.
        """
        if isinstance(operation, Send):
            return self.send(operation.channel, operation.message, operation.receipt)
        if isinstance(operation, GroupSend):
            return self.group_send(operation.group, operation.message)
        if isinstance(operation, Forget):
            return self.forget(operation.channel)
        raise InvalidMessage("operation", f"is no Send, GroupSend or Forget: {operation!r}")

    def operations(
        self, operations: Sequence[Operation], errors: list[ChannelLayerError | None]
    ) -> list[tuple[int, Prepared]]:
        """
        Prepare a batch.

        @param errors: gets the error of each that cannot be sent, in its place.
        @return: the others, with their places.
        """
        prepared = []
        for place, operation in enumerate(operations):
            try:
                prepared.append((place, self.operation(operation)))
            except ChannelLayerError as error:
                errors[place] = error
        return prepared

    def send(self, channel: str, message: Message, receipt: str | None) -> Prepared:
        """Prepare a send; see L{operation}."""
        check_channel(channel)
        if receipt is not None:
            check_receipt(receipt)
        sealed = self._sealed(channel, message)
        mailbox = mailbox_of(channel)
        capacity, flag = self._mailboxes.of(mailbox)
        made = Prepared(Send, self._places.of(channel, sealed, receipt), mailbox)
        rest = rest_of_entry(channel, receipt, flag, self._codec.encode(sealed))
        made.words = ("s", mailbox, capacity, rest)
        made.capacity = capacity
        made.receipt = receipt
        return made

    def group_send(self, group: str, message: Message) -> Prepared:
        """Prepare a send to a group; see L{operation}."""
        check_group(group)
        name = self._space.group(group)
        made = Prepared(GroupSend, self._places.owner_of(name), name)
        made.payload = self._codec.encode(self._sealed(group, message))
        made.words = ("g", name, made.payload)
        return made

    def forget(self, channel: str) -> Prepared:
        """Prepare the end of a channel's memberships; see L{operation}."""
        check_channel(channel)
        made = Prepared(Forget, self._places.owner_of(mailbox_of(channel)), channel)
        made.words = ("h" if self._places.only is None else "f", channel)
        return made

    def _sealed(self, where: str, message: Message) -> SealedMessage:
        sealed = seal(message)
        if sealed.size > self._max_message_size:
            raise MessageTooLarge(where, sealed.size, self._max_message_size)
        return sealed
