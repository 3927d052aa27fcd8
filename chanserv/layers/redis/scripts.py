"""
The layer's Lua scripts, each made of the parts that it needs.

Lua scripts cannot share code on a server, so what several have in common (how
an entry is put in a queue, say) stands once in a part, before the script's own
text.  The parts and what each script expects are documented in C{lua/}.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from chanserv.layers.redis.script import Script


def _composed(name: str, *parts: str) -> Script:
    texts = [
        (files(__package__) / "lua" / f"{part}.lua").read_bytes() for part in ("base", *parts, name)
    ]
    return Script.of(name, b"\n".join(texts))


OPERATE: Final = _composed("operate", "queue", "leases", "groups")
"""Many operations in their order."""

TAKE: Final = _composed("take", "queue", "feed")
"""Take what waits, or begin to wait."""

HELLO: Final = _composed("hello", "feed")
"""Register a process."""

BEAT: Final = _composed("beat", "queue", "leases", "groups", "reap")
"""Say that a process is alive, and drop what is due."""

BYE: Final = _composed("bye", "queue", "leases", "groups", "reap")
"""End a process."""

STATISTICS: Final = _composed("statistics", "queue")
"""The counts of one mailbox, or of all."""

MEMBERS: Final = _composed("members", "queue", "groups")
"""The members of a group."""

REACH: Final = _composed("reach", "queue", "groups")
"""The mailboxes that groups reach."""

FLUSH: Final = _composed("flush")
"""Forget all."""

ALL: Final = (OPERATE, TAKE, HELLO, BEAT, BYE, STATISTICS, MEMBERS, REACH, FLUSH)
"""Each of them: a new connection makes its server learn them, so that what is
sent together runs together."""
