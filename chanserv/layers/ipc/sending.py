"""
What a process sends: written as operations, posted, and accounted for.

Whoever sends a message with a receipt waits for that.  Should the hub be lost, the
receipts that it owed are given through the next one: see
L{chanserv.core.outstanding}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.codec import MAX_ENCODED_SIZE, Codec
from chanserv.core.outstanding import Outstanding
from chanserv.errors import (
    ChannelLayerError,
    InvalidMessage,
    LayerUnavailable,
    MessageTooLarge,
)
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.stream import FRAME_BYTES
from chanserv.messages import Forget, GroupSend, Message, Operation, Outcome, Send, seal
from chanserv.names import check_channel, check_group, check_receipt

_HUB: Final = "hub"
"""What the one store of this layer is called where there could be many."""

Ready = tuple[int, wire.Operation]
"""An operation of a batch, with its place there."""


class Sending:
    """
    See the module.

    @ivar max_size: bytes in one message, once the hub has told; before that the
        hub looks itself.
    """

    _log = Logger()

    def __init__(
        self,
        codec: Codec,
        post: Callable[[wire.Operation, int], Deferred[Any]],
        tell: Callable[..., None],
    ) -> None:
        """
        @param post: has an operation of a weight done.
        @param tell: has one done where there is a hub.
        """
        self._codec = codec
        self._post = post
        self._tell = tell
        self._outstanding = Outstanding()
        # Receipts to be given, and messages to be counted, in the next hub.
        self._owed: list[str] = []
        self._lost = 0
        self.max_size: int | None = None

    def send(self, channel: str, message: Message, receipt: str | None) -> Deferred[None]:
        """
        Send one message.

        @raise ChannelLayerError: it is refused here already.
        """
        operation = self._send(channel, message, receipt)
        # Asked for first: the answer may be there at once.
        if receipt is not None:
            self._outstanding.asked(_HUB, receipt)
        answer = self._post(operation, weight_of(operation))
        if receipt is not None:
            answer.addErrback(self._not_sent, receipt)
        return answer

    def send_group(self, group: str, message: Message) -> Deferred[None]:
        """The same to a group."""
        operation = self._send_group(group, message)
        return self._post(operation, weight_of(operation))

    def send_batch(
        self, operations: Sequence[Operation], leases: list[tuple[int, int]]
    ) -> Deferred[list[ChannelLayerError | None]]:
        """
        Do all of C{operations}, then settle C{leases}.

        A batch of more than L{FRAME_BYTES} goes in parts.
        """
        errors: list[ChannelLayerError | None] = [None] * len(operations)
        ready: list[Ready] = []
        for index, operation in enumerate(operations):
            try:
                ready.append((index, self._written(operation)))
            except ChannelLayerError as error:
                errors[index] = error
        return self._post_batch(ready, leases, errors)

    # Receipts

    def receipt_came(self, channel: str) -> None:
        """A receipt has been delivered."""
        self._outstanding.answered(_HUB, channel)

    def flushed(self) -> None:
        """The hub has been flushed: it owes nothing."""
        self._outstanding.clear()

    def hub_lost(self, held: Iterable[wire.Operation], is_counted: bool) -> int:
        """
        Note that a hub is gone.

        @param held: what is asked of the next one, with its receipts.
        @param is_counted: whether the hub itself has counted what was lost.
        @return: how many receipts it owed.
        """
        still_asked = [receipt for operation in held for receipt in _receipts_of(operation)]
        for receipt in still_asked:
            self._outstanding.answered(_HUB, receipt)
        receipts = self._outstanding.lost(_HUB)
        for receipt in still_asked:
            self._outstanding.asked(_HUB, receipt)
        self._owed += receipts
        if not is_counted:
            self._lost += len(receipts)
        return len(receipts)

    def put_back(self, memberships: dict[str, list[tuple[str, str, float]]]) -> None:
        """
        Tell a new hub what this process knows of the one before.

        @param memberships: see L{Inbox.memberships}.
        """
        owed, self._owed = self._owed, []
        lost, self._lost = self._lost, 0

        def still_owed(failure: Failure) -> None:
            failure.trap(ChannelLayerError)  # type: ignore[no-untyped-call]
            self._owed = owed + self._owed
            self._lost += lost

        weight = 100 + 100 * (len(owed) + sum(map(len, memberships.values())))
        operation = (wire.PUT_BACK, memberships, owed, lost)
        self._post(operation, weight).addErrback(still_owed)

    # Inside

    def _written(self, operation: Operation) -> wire.Operation:
        """
        One operation of a batch.

        @raise ChannelLayerError: it is refused here already.
        """
        if isinstance(operation, Send):
            return self._send(operation.channel, operation.message, operation.receipt)
        if isinstance(operation, GroupSend):
            return self._send_group(operation.group, operation.message)
        if isinstance(operation, Forget):
            return (wire.FORGET, check_channel(operation.channel))
        raise InvalidMessage("operation", f"is no Send, GroupSend or Forget: {operation!r}")

    def _send(self, channel: str, message: Message, receipt: str | None) -> wire.Operation:
        check_channel(channel)
        if receipt is not None:
            check_receipt(receipt)
        return (wire.SEND, channel, *self._encoded(channel, message), receipt)

    def _send_group(self, group: str, message: Message) -> wire.Operation:
        check_group(group)
        return (wire.SEND_GROUP, group, *self._encoded(group, message))

    def _encoded(self, name: str, message: Message) -> tuple[int, bytes]:
        """The size of C{message}, and its bytes."""
        sealed = seal(message)
        # Which limit counts, the hub tells; until then it looks itself.
        if self.max_size is not None and sealed.size > self.max_size:
            raise MessageTooLarge(name, sealed.size, self.max_size)
        data = self._codec.encode(sealed)
        if len(data) > MAX_ENCODED_SIZE:
            raise MessageTooLarge(name, len(data), MAX_ENCODED_SIZE)
        return sealed.size, data

    def _post_batch(
        self,
        ready: list[Ready],
        leases: list[tuple[int, int]],
        errors: list[ChannelLayerError | None],
    ) -> Deferred[list[ChannelLayerError | None]]:
        parts = _in_parts(ready)
        done: Deferred[list[ChannelLayerError | None]] = Deferred()
        left = len(parts)

        def finished(result: Any, part: list[Ready]) -> None:
            nonlocal left
            self._note_errors(result, part, errors)
            left -= 1
            if not left:
                done.callback(errors)

        for number, part in enumerate(parts, 1):
            operations = [operation for _, operation in part]
            for receipt in _receipts_of((wire.BATCH, operations)):
                self._outstanding.asked(_HUB, receipt)
            settled = leases if number == len(parts) else []
            batch = (wire.BATCH, operations, settled, number > 1)
            answer = self._post(batch, sum(map(weight_of, operations)))
            if settled:
                answer.addErrback(self._not_settled, settled)
            answer.addBoth(finished, part)
        return done

    def _note_errors(
        self,
        result: Any,
        part: list[Ready],
        errors: list[ChannelLayerError | None],
    ) -> None:
        """Write what became of a part of a batch in its places."""
        failed: dict[int, ChannelLayerError]
        if isinstance(result, Failure):
            error = result.value
            if not isinstance(error, ChannelLayerError):
                self._log.failure("A batch failed", result)
                error = LayerUnavailable(f"the IPC layer failed: {error}")
            failed = dict.fromkeys(range(len(part)), error)
        else:
            failed = {index: wire.read_error(written) for index, written in result or ()}
        for place, error in failed.items():
            index, operation = part[place]
            errors[index] = error
            for receipt in _receipts_of(operation):
                self._outstanding.answered(_HUB, receipt)

    def _not_settled(self, failure: Failure, leases: list[tuple[int, int]]) -> Failure:
        """
        A batch did not reach the hub: should that be there still, those who sent
        what was finished hear that the replies are lost.
        """
        lost = wire.OUTCOME_INDEX[Outcome.LOST]
        self._tell((wire.SETTLE, [(lease, lost) for lease, _ in leases]))
        return failure

    def _not_sent(self, failure: Failure, receipt: str) -> Failure:
        self._outstanding.answered(_HUB, receipt)
        return failure


def _receipts_of(operation: wire.Operation) -> list[str]:
    """The channels that an operation asks receipts for."""
    sends = operation[1] if operation[0] == wire.BATCH else [operation]
    return [one[4] for one in sends if one[0] == wire.SEND and one[4] is not None]


def weight_of(operation: wire.Operation) -> int:
    """Roughly the bytes of an operation."""
    if operation[0] in (wire.SEND, wire.SEND_GROUP):
        return len(operation[3]) + 100
    return 100


def _in_parts(ready: list[Ready]) -> list[list[Ready]]:
    """A batch in parts of L{FRAME_BYTES}, or of one operation; at least one part."""
    parts: list[list[Ready]] = [[]]
    weight = 0
    for one in ready:
        if weight > FRAME_BYTES:
            parts.append([])
            weight = 0
        parts[-1].append(one)
        weight += weight_of(one[1])
    return parts
