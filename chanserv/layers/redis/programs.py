"""
What runs on a server: the layer's programs in Lua, of the parts in C{lua/}.

Redis 7 has I{functions}: a library is made once, and each call runs what is
there.  Before that there are only I{scripts}, whose every run makes all their
functions anew: that is a good third of the server's work for one send.  So each
program is both.  Scripts cannot share code, and therefore each is made of the
parts that it needs; the library has all of them, under names with a hash in
them, so that two versions of chanserv get on with one server.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Final

from chanserv.layers.redis.script import Script

_PROBE: Final = "redis.call('HINCRBY', ARGV[2] .. 'all', 'gone', 0)"
"""A write that changes nothing.  A server without memory refuses it before a script has
begun, and not in its midst, when messages have been taken and not yet handed over."""


def _part(name: str) -> str:
    return (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Program:
    """
    Something that the servers do in one step.

    @ivar script: for any server.
    @ivar function: the name of the same in the library.
    """

    script: Script
    function: bytes


_PARTS: Final = ("base", "queue", "leases", "groups", "feed", "reap")
_MAINS: Final = (
    "operate",
    "take",
    "hello",
    "beat",
    "bye",
    "news",
    "statistics",
    "members",
    "reach",
    "owed",
    "flush",
)
_BODY: Final = "\n".join(map(_part, (*_PARTS, *_MAINS)))
LIBRARY_NAME: Final = f"chanserv_{sha1(_BODY.encode(), usedforsecurity=False).hexdigest()[:12]}"
"""What the library is called."""


def _registered(name: str) -> str:
    # Whoever takes or settles makes room: that goes on when there is none.
    flags = "" if name == "operate" else "'allow-oom'"
    return (
        f"redis.register_function{{function_name='{LIBRARY_NAME}_{name}', "
        f"callback=function(_, arguments) return {name}(arguments) end, flags={{{flags}}}}}\n"
    )


LIBRARY: Final = f"#!lua name={LIBRARY_NAME}\n{_BODY}\n{''.join(map(_registered, _MAINS))}".encode()
"""All programs, as functions."""


def _program(main: str, *parts: str) -> Program:
    texts = [*map(_part, ("base", *parts, main)), _PROBE, f"return {main}(ARGV)"]
    script = Script.of(f"{'-'.join((main, *parts))}", "\n".join(texts).encode())
    return Program(script, f"{LIBRARY_NAME}_{main}".encode())


OPERATE: Final = _program("operate", "queue", "leases", "groups")
"""Many operations in their order."""

POST: Final = _program("operate", "queue", "leases")
"""The same for those that have nothing to do with groups."""

TAKE: Final = _program("take", "queue", "feed")
"""Take what waits, or begin to wait."""

HELLO: Final = _program("hello", "feed")
"""Register a process."""

BEAT: Final = _program("beat", "queue", "leases", "groups", "reap")
"""Say that a process is alive, and drop what is due."""

BYE: Final = _program("bye", "queue", "leases", "groups", "reap")
"""End a process."""

NEWS: Final = _program("news", "feed")
"""The changes to the members behind a process's mailboxes."""

STATISTICS: Final = _program("statistics", "queue")
"""The counts of one mailbox, or of all."""

MEMBERS: Final = _program("members", "queue", "groups")
"""The members of a group."""

REACH: Final = _program("reach", "queue", "groups")
"""The mailboxes that groups reach."""

OWED: Final = _program("owed", "queue")
"""The receipts that can still come to some mailboxes."""

FLUSH: Final = _program("flush")
"""Forget all."""

ALL: Final = (
    OPERATE,
    POST,
    TAKE,
    HELLO,
    BEAT,
    BYE,
    NEWS,
    STATISTICS,
    MEMBERS,
    REACH,
    OWED,
    FLUSH,
)
"""Each of them."""
