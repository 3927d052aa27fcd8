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


def _composed(*parts: str) -> Script:
    texts = [(files(__package__) / "lua" / f"{part}.lua").read_bytes() for part in ("base", *parts)]
    return Script.of("-".join(parts), b"\n".join(texts))


OPERATE: Final = _composed("queue", "leases", "groups", "operate")
"""Many operations in their order."""

POST: Final = _composed("queue", "leases", "operate")
"""The same for those that have nothing to do with groups.  For every run a server makes
all functions of a script anew, and for one send those of groups would be a good part
of the cost."""

TAKE: Final = _composed("queue", "feed", "take")
"""Take what waits, or begin to wait."""

HELLO: Final = _composed("feed", "hello")
"""Register a process."""

BEAT: Final = _composed("queue", "leases", "groups", "reap", "beat")
"""Say that a process is alive, and drop what is due."""

BYE: Final = _composed("queue", "leases", "groups", "reap", "bye")
"""End a process."""

NEWS: Final = _composed("feed", "news")
"""The changes to the members behind a process's mailboxes."""

STATISTICS: Final = _composed("queue", "statistics")
"""The counts of one mailbox, or of all."""

MEMBERS: Final = _composed("queue", "groups", "members")
"""The members of a group."""

REACH: Final = _composed("queue", "groups", "reach")
"""The mailboxes that groups reach."""

FLUSH: Final = _composed("flush")
"""Forget all."""

ALL: Final = (OPERATE, POST, TAKE, HELLO, BEAT, BYE, NEWS, STATISTICS, MEMBERS, REACH, FLUSH)
"""Each of them: a new connection makes its server learn them, so that what is
sent together runs together."""
