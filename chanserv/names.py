"""
The grammar of channel and group names.

A name is 1 to 200 ASCII letters, digits, ``.``, ``-`` and ``_``.  A channel
name may hold one type character, inside the name or at its end:

- ``?`` marks a I{single-reader} channel: one process reads it, such as the
  rest of one request's body;
- ``!`` makes a I{process-specific} channel: what stands up to and with the
  ``!`` is the I{mailbox} that one process receives from, and what follows is
  the I{local part}, which only that process understands.

Every check here is a single match of a compiled pattern, since it runs for
each message.

Source: the ASGI 1 channel layer specification, "Channels" and "Groups".
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Final

from chanserv.errors import InvalidChannelName

MAX_NAME_LENGTH: Final = 200
"""The longest name, in bytes; long enough for any prefix, short as a key."""

RANDOM_BYTES: Final = 12
"""Bytes of randomness in a name that is made up: nobody meets or guesses one."""

_CHANNEL: Final = re.compile(r"(?=.{1,200}\Z)[a-zA-Z0-9._-]+(?:[!?][a-zA-Z0-9._-]*)?\Z")
_RECEIVABLE: Final = re.compile(r"(?=.{1,200}\Z)[a-zA-Z0-9._-]+(?:!|\?[a-zA-Z0-9._-]*)?\Z")
_PATTERN: Final = re.compile(r"(?=.{1,200}\Z)[a-zA-Z0-9._-]+[!?]\Z")
_GROUP: Final = re.compile(r"[a-zA-Z0-9._-]{1,200}\Z")

_ALPHABET: Final = "ASCII letters, digits, '.', '-' and '_'"


def check_channel(name: str) -> str:
    """
    Return C{name} when a message can be sent to it.

    @raise InvalidChannelName: it is no channel name.
    """
    if isinstance(name, str) and _CHANNEL.match(name):
        return name
    raise _refusal("channel", name, "with at most one '!' or '?' after the first of them")


def check_receivable(name: str) -> str:
    """
    Return C{name} when it can be received from: an ordinary or single-reader
    channel, or a mailbox.

    @raise InvalidChannelName: it is no channel name, or it has a local part,
        which only the owner of the mailbox can tell apart.
    """
    if isinstance(name, str) and _RECEIVABLE.match(name):
        return name
    if isinstance(name, str) and _CHANNEL.match(name):
        raise InvalidChannelName(
            f"cannot receive from {name!r}: it has a local part; receive from its "
            f"mailbox {mailbox_of(name)!r}"
        )
    raise _refusal("channel", name, "ending in '!' for a mailbox")


def check_all_receivable(names: Iterable[str]) -> tuple[str, ...]:
    """
    Return C{names} when each can be received from.

    @raise InvalidChannelName: one cannot; or C{names} is a single name, where
        a list of them belongs.
    """
    if isinstance(names, (str, bytes)):
        raise InvalidChannelName(f"receive takes a list of channels, not the one name {names!r}")
    return tuple(map(check_receivable, names))


def check_pattern(pattern: str) -> str:
    """
    Return C{pattern} when C{new_channel} can complete it.

    @raise InvalidChannelName: it does not end in C{!} or C{?}.
    """
    if isinstance(pattern, str) and _PATTERN.match(pattern):
        return pattern
    raise _refusal("channel pattern", pattern, "and a final '!' or '?'")


def made_up(pattern: str) -> str:
    """
    Make up a name: C{pattern} and a random part, long enough to need nobody's
    leave.

    @raise InvalidChannelName: C{pattern} is none, or leaves no room.
    """
    name = check_pattern(pattern) + secrets.token_urlsafe(RANDOM_BYTES)
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidChannelName(
            f"the pattern {pattern[:40]!r}… ({len(pattern)} characters) leaves no room for a "
            f"random part within {MAX_NAME_LENGTH} characters"
        )
    return name


def check_receipt(channel: str) -> str:
    """
    Return C{channel} when receipts can be sent to it.

    @raise InvalidChannelName: it is no channel name, or one that several
        processes may read.
    """
    check_channel(channel)
    if is_process_specific(channel) or is_single_reader(channel):
        return channel
    raise InvalidChannelName(
        f"{channel!r} cannot be given receipts: it needs a '!' or a '?', so that "
        f"they reach the one who asked"
    )


def check_group(name: str) -> str:
    """
    Return C{name} when it names a group.

    @raise InvalidChannelName: it does not.
    """
    if isinstance(name, str) and _GROUP.match(name):
        return name
    raise _refusal("group", name, "and no type character")


def mailbox_of(channel: str) -> str:
    """
    The name a message for C{channel} waits under: the part up to and with its
    C{!}, or the whole name where it has none.
    """
    head, mark, _ = channel.partition("!")
    return head + mark


def is_process_specific(channel: str) -> bool:
    """Whether one process owns C{channel} (it has a C{!})."""
    return "!" in channel


def is_single_reader(channel: str) -> bool:
    """Whether only one process reads C{channel} (it has a C{?})."""
    return "?" in channel


def _refusal(kind: str, name: object, rest: str) -> InvalidChannelName:
    if not isinstance(name, str):
        return InvalidChannelName(
            f"a {kind} name must be a str, not {type(name).__name__}: {name!r}"
        )
    shown = name if len(name) <= MAX_NAME_LENGTH else name[:40] + "…"
    return InvalidChannelName(
        f"{shown!r} ({len(name)} characters) is not a {kind} name: it needs 1 to "
        f"{MAX_NAME_LENGTH} {_ALPHABET}, {rest}"
    )
