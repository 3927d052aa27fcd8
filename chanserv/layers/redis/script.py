"""Lua scripts, each known by the hash of its text."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1


@dataclass(frozen=True, slots=True)
class Script:
    """
    What C{EVALSHA} runs.

    @ivar name: what people call it.
    @ivar source: its text.
    @ivar sha: the hash by which a server knows it.
    """

    name: str
    source: bytes
    sha: bytes

    @classmethod
    def of(cls, name: str, source: bytes) -> Script:
        """Make one of a text."""
        return cls(name, source, sha1(source, usedforsecurity=False).hexdigest().encode())
