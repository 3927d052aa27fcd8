"""
What the processes of an IPC layer say to each other.

A guest begins with a L{hello<greeting>}, which the hub answers with its own, or
with a refusal.  From then on every frame is a list.

B{Guest to hub}: I{operations}, each a list of its code and its arguments; see
the codes below.  The hub does them in their order.

B{Hub to guest}: I{news}, each a list of its kind and what belongs to it.  Every
operation has one result; L{RESULTS} says of how many operations in a row these
are, and gives only those that are not simply "done".  L{DELIVER} and L{CHANGES}
come when they come.

Bodies of messages are bytes that only the ends understand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgpack

from chanserv.errors import (
    ChannelFull,
    ChannelLayerError,
    CorruptMessage,
    LayerUnavailable,
    MessageTooLarge,
)
from chanserv.messages import Outcome

PROTOCOL: Final = "chanserv-ipc"
"""The first word of every greeting, in all versions of the protocol."""

VERSION: Final = 1
"""The version of the protocol; processes of different versions do not talk."""

Operation: TypeAlias = tuple[Any, ...]
"""A code, and its arguments."""

News: TypeAlias = tuple[Any, ...]
"""A kind, and what belongs to it."""

# Operations: the code is the index in the hub's table.

SEND: Final = 0
"""channel, size of the message, body, receipt's channel or None"""
SEND_GROUP: Final = 1
"""group, size of the message, body"""
FORGET: Final = 2
"""channel"""
BATCH: Final = 3
"""list of the three above, list of leases as of L{SETTLE}, whether this goes on with
the batch before; the result is a list of [index, error] for those operations that
failed"""
SETTLE: Final = 4
"""list of [lease, index of the outcome]"""
RECEIVE: Final = 5
"""number of the receive, mailboxes, limit"""
CANCEL: Final = 6
"""number of the receive: nothing is delivered to it after the result of this"""
GIVE_BACK: Final = 7
"""a parcel as it was delivered, to the front of its mailbox"""
GROUP_ADD: Final = 8
"""group, channel"""
GROUP_DISCARD: Final = 9
"""group, channel"""
GROUP_CHANNELS: Final = 10
"""group; the result is the list of members"""
FLUSH: Final = 11
"""nothing"""
TOTALS: Final = 12
"""nothing; the result is the statistics"""
COUNTS: Final = 13
"""mailbox; the result is its statistics"""
PUT_BACK: Final = 14
"""what this process knows of a hub that is gone: map of its mailboxes to lists of
[group, channel, seconds left]; channels that wait for receipts that were lost;
how many messages were lost.  The first operation where there was such a hub."""
LEAVE: Final = 15
"""nothing: nothing is delivered after the result of this"""
RECEIVE_NOW: Final = 16
"""as L{RECEIVE}, but it does not wait: what there is is delivered before the result"""

# News

RESULTS: Final = 0
"""how many operations, list of [index among them, result]"""
DELIVER: Final = 1
"""number of the receive, the hub's time, parcels"""
CHANGES: Final = 2
"""mailbox, any of the flags below added up, list of changes"""
ROSTER: Final = 3
"""how many guests own mailboxes: so many a next hub has to wait for"""
FAREWELL: Final = 4
"""how many messages are lost with this hub; it has done what it gave results for, and
nothing else"""

FLUSHED: Final = 5
"""nothing: the hub has been flushed, and owes no receipts"""

LOAD: Final = 6
"""how many messages wait in the hub or are on lease; told now and then"""

RESET: Final = 1
"""All that was known of the mailbox is void."""
DRAINED: Final = 2
"""No message older than these changes waits in the mailbox."""
GONE: Final = 4
"""Another process owns the mailbox now."""

OUTCOMES: Final = tuple(Outcome)
"""Outcomes by their index on the wire."""

OUTCOME_INDEX: Final = {outcome: index for index, outcome in enumerate(OUTCOMES)}
"""And back."""


class Item(NamedTuple):
    """
    One parcel as it is delivered.

    @ivar deadline: when it expires, on the hub's clock.
    @ivar recipients: the full name of its channel; or for a group's message to
        a mailbox three parts: the mailbox, the group, and the number of the
        last change to the members before it.
    @ivar body: the message.
    @ivar lease: the number of its lease; 0 for none.
    """

    deadline: float
    recipients: tuple[Any, ...]
    body: bytes
    lease: int


# Greetings

HELLO: Final = "hello"
REFUSED: Final = "refused"


class Greeting(NamedTuple):
    """
    What the two sides tell of themselves.

    @ivar pid: the process.
    @ivar options: its options, as L{chanserv.layers.ipc.options} writes them.
    @ivar now: the hub's time; 0 from a guest.
    """

    pid: int
    options: Mapping[str, Any]
    now: float


def greeting(mine: Greeting) -> bytes:
    """The payload of a greeting."""
    return packed([PROTOCOL, VERSION, HELLO, *mine])


def refusal(reason: str) -> bytes:
    """The payload of a hub's refusal."""
    return packed([PROTOCOL, VERSION, REFUSED, reason])


def read_greeting(payload: bytes) -> Greeting:
    """
    What the other side tells of itself.

    @raise LayerUnavailable: it refuses, or is of another version.
    @raise CorruptMessage: it is none of ours.
    """
    said = unpacked(payload)
    if not isinstance(said, tuple) or len(said) < 3 or said[0] != PROTOCOL:
        raise CorruptMessage("the other side does not speak the IPC layer's protocol")
    if said[2] == REFUSED:
        raise LayerUnavailable(str(said[3]))
    if said[1] != VERSION:
        raise LayerUnavailable(
            f"a process of protocol version {said[1]} wants to share an IPC layer with one of "
            f"version {VERSION}: run one version of chanserv on all of them, or give them "
            f"layers of different names"
        )
    return Greeting(*said[3:6])


# MessagePack


def packed(value: object) -> bytes:
    """C{value} as MessagePack."""
    data: bytes = msgpack.packb(value, use_bin_type=True)
    return data


def unpacked(payload: bytes) -> Any:
    """
    What C{payload} holds; sequences are tuples.

    @raise CorruptMessage: it is no MessagePack.
    """
    try:
        return msgpack.unpackb(payload, raw=False, use_list=False)
    except Exception as error:
        # msgpack raises what its parts raise.
        raise CorruptMessage(f"a frame is no MessagePack: {error}") from None


# Errors

_FULL: Final = "full"
_LARGE: Final = "large"
_OTHER: Final = "other"


def written_error(error: ChannelLayerError) -> tuple[Any, ...]:
    """C{error} as a result."""
    if isinstance(error, ChannelFull):
        return (_FULL, error.channel, error.depth, error.capacity, error.oldest)
    if isinstance(error, MessageTooLarge):
        return (_LARGE, error.channel, error.size, error.limit)
    return (_OTHER, str(error))


def read_error(written: Sequence[Any]) -> ChannelLayerError:
    """The error that a result tells of."""
    kind, *arguments = written
    if kind == _FULL:
        return ChannelFull(*arguments)
    if kind == _LARGE:
        return MessageTooLarge(*arguments)
    return LayerUnavailable(*arguments)


# A result that is not "done" is an error, or a value.

ERROR: Final = 0
VALUE: Final = 1
