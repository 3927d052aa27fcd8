"""
The messages that travel over a channel layer, and what is said of them.

A message is a C{dict} of the spec's types.  L{seal} checks one and copies it,
so that what was sent stays what was sent; what comes out is a
L{SealedMessage}, which everything behind it passes on by reference.

Source: the ASGI 1 channel layer specification, "Messages".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from chanserv.errors import InvalidMessage

Value: TypeAlias = "None | bool | int | float | str | bytes | Sequence[Value] | Mapping[str, Value]"
"""What a message may hold."""

Message: TypeAlias = Mapping[str, Any]
"""A message as it is given to a layer: string keys, L{Value} values."""

MAX_DEPTH: Final = 32
"""How deep lists and dicts may nest: far past any real message, and shallow
enough that neither a cycle nor a hostile peer exhausts the stack."""

_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**63 - 1


class SealedMessage(dict[str, Any]):
    """
    A message that has been checked, and that nobody changes any more.

    Make one with L{seal}.  Code that builds a message out of spec types alone,
    and lets go of every part of it, may construct one directly and save the
    walk.

    @ivar size: roughly its size in bytes: the text and bytes it holds, and
        eight for each other value.
    """

    __slots__ = ("size",)
    size: int

    def __init__(self, message: Mapping[str, Any], size: int) -> None:
        super().__init__(message)
        self.size = size


def seal(message: Message) -> SealedMessage:
    """
    Check C{message} and copy it, as deep as it can be changed.

    Tuples become lists, and subclasses of the spec's types become those types.
    A L{SealedMessage} is returned as it is.

    May be called from any thread.

    @raise InvalidMessage: something in it is outside the spec's types; the
        error names the key path.
    """
    if type(message) is SealedMessage:
        return message
    if type(message) is not dict and not isinstance(message, Mapping):
        raise InvalidMessage("message", f"must be a dict, not {_named(message)}")
    copy, size = _copy_dict(message, None, 0)
    return SealedMessage(copy, size)


def thaw(message: Mapping[str, Any]) -> dict[str, Any]:
    """
    Copy a sealed message for someone who may change all of it.

    Any thread.
    """
    return {
        key: _thaw_value(value) if type(value) in _CONTAINERS else value
        for key, value in message.items()
    }


def _thaw_value(value: Any) -> Any:
    if type(value) is list:
        return [_thaw_value(item) if type(item) in _CONTAINERS else item for item in value]
    return thaw(value)


# The walk is written for the common message: a flat dict of immutable values
# with one list of [name, value] pairs of bytes.  Exact types are looked up
# first; what is left goes through _copy_odd_value.  Where in the message the
# walk is, only an error needs to know: so it is kept as a chain of keys.

_LEAVES: Final = frozenset({str, bytes})
_CONTAINERS: Final = frozenset({list, dict})

_Path: TypeAlias = "tuple[_Path, str | int] | None"
"""The path of the container, and the key in it; L{None} for the message."""


def _copy_dict(source: Mapping[Any, Any], path: _Path, depth: int) -> tuple[dict[str, Any], int]:
    copy: dict[str, Any] = {}
    size = 0
    for key, value in source.items():
        if type(key) is not str:
            if not isinstance(key, str):
                raise InvalidMessage(_written(path), f"has the key {key!r}: keys must be str")
            key = str.__str__(key)
        kind = type(value)
        if kind in _LEAVES:
            copy[key] = value
            size += len(value)
        elif value is None or kind is bool:
            copy[key] = value
            size += 8
        else:
            copy[key], part = _copy_value(value, kind, (path, key), depth + 1)
            size += part
        size += len(key)
    return copy, size


def _copy_list(source: Sequence[Any], path: _Path, depth: int) -> tuple[list[Any], int]:
    copy: list[Any] = []
    size = 0
    for index, item in enumerate(source):
        kind = type(item)
        if (kind is list or kind is tuple) and len(item) == 2:
            first, second = item
            if type(first) is bytes and type(second) is bytes:
                copy.append([first, second])
                size += len(first) + len(second)
                continue
        if kind in _LEAVES:
            copy.append(item)
            size += len(item)
        else:
            value, part = _copy_value(item, kind, (path, index), depth + 1)
            copy.append(value)
            size += part
    return copy, size


def _copy_value(value: Any, kind: type, path: _Path, depth: int) -> tuple[Any, int]:
    """Copy a value that is not text, bytes, C{None} or a C{bool}, as most are not."""
    if kind is list or kind is tuple or kind is dict:
        if depth > MAX_DEPTH:
            raise InvalidMessage(
                _written(path), f"nests more than {MAX_DEPTH} lists and dicts deep"
            )
        return (_copy_dict if kind is dict else _copy_list)(value, path, depth)
    if kind is int and _MIN_INT <= value <= _MAX_INT:
        return value, 8
    return _copy_odd_value(value, path, depth)


def _copy_odd_value(value: Any, path: _Path, depth: int) -> tuple[Any, int]:
    """Copy any one value, and make it the spec's type where it is a subclass."""
    if value is None or isinstance(value, (bool, float)):
        return float(value) if isinstance(value, float) else value, 8
    if isinstance(value, str):
        return str.__str__(value), len(value)
    if isinstance(value, bytes):
        return bytes(value), len(value)
    if isinstance(value, int):
        if not _MIN_INT <= value <= _MAX_INT:
            raise InvalidMessage(
                _written(path),
                f"is an int of {value.bit_length()} bits, outside the signed 64-bit integers",
            )
        return int(value), 8
    for kind in (list, tuple, dict):
        if isinstance(value, kind):
            return _copy_value(value, kind, path, depth)
    raise InvalidMessage(
        _written(path),
        f"is {_named(value)}: a message holds only str, bytes, int, float, bool, None, "
        f"and lists and dicts of them",
    )


def _written(path: _Path) -> str:
    """C{path} as Python would index it."""
    keys = []
    while path is not None:
        path, key = path
        keys.append(f"[{key!r}]")
    return "message" + "".join(reversed(keys))


def _named(value: object) -> str:
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    return f"of type {name}"


class Outcome(StrEnum):
    """
    What became of a message that was sent with a receipt.

    The receipt is itself a message, C{{"receipt": outcome}}.
    """

    SETTLED = "settled"
    """Its reader has finished with it."""

    EXPIRED = "expired"
    """It waited longer than the layer's expiry, or was put off too often, and was
    dropped."""

    LOST = "lost"
    """Its reader went away before it had finished, or could not use it.  A message
    of a channel that the layer is told to redeliver is not lost by that: it is
    handed out again, first in line, and there is no receipt yet."""


class Delivery:
    """
    One message as it comes out of a layer, for one recipient or many.

    A group's message reaches a process once, for all its members there.

    @ivar recipients: the full names of the channels it was sent to: one, or
        for a group the members that share the mailbox it came from.
    @ivar message: the message.  With several recipients it is shared: do not
        change it.
    """

    __slots__ = ("_settler", "message", "recipients")

    def __init__(
        self,
        recipients: tuple[str, ...],
        message: SealedMessage,
        settler: Callable[[Outcome], object] | None = None,
    ) -> None:
        """
        @param settler: what the layer does to settle it, or L{None} where
            nobody waits for that.  Called at most once.
        """
        self.recipients = recipients
        self.message = message
        self._settler = settler

    @property
    def channel(self) -> str:
        """The first recipient: all there is, but for a group's message."""
        return self.recipients[0]

    def settle(self, outcome: Outcome = Outcome.SETTLED) -> None:
        """
        Say that this process has finished with the message, and how.

        The second call and later ones do nothing.  Call it on the thread that
        the layer belongs to.
        """
        settler, self._settler = self._settler, None
        if settler is not None:
            settler(outcome)

    def __repr__(self) -> str:
        others = f" and {len(self.recipients) - 1} others" if len(self.recipients) > 1 else ""
        return f"<Delivery to {self.channel}{others}: {sorted(self.message)}>"


# Nobody changes an operation that has been made.  But they are not frozen: that one takes
# three times as long to make, and a request takes four of them.
@dataclass(slots=True)
class Send:
    """
    One message for one channel, as part of a batch.

    @ivar receipt: a process-specific or single-reader channel that is told
        once, by a message C{{"receipt": outcome}}, what became of this one.
    """

    channel: str
    message: Message
    receipt: str | None = None


@dataclass(slots=True)
class GroupSend:
    """One message for all members of a group, as part of a batch."""

    group: str
    message: Message


@dataclass(slots=True)
class Forget:
    """
    The end of all memberships of a channel, as part of a batch: the connection
    that it was for is gone.
    """

    channel: str


Operation: TypeAlias = Send | GroupSend | Forget
"""What C{IChannelLayer.send_batch} carries."""
