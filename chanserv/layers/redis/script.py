"""Lua scripts, each known by the hash of its text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """
    What C{EVALSHA} runs.

    @ivar name: the file's name without C{.lua}.
    @ivar source: the file's text.
    @ivar sha: the hash by which a server knows it.
    """

    name: str
    source: bytes
    sha: bytes

    @classmethod
    def of(cls, name: str, source: bytes) -> Script:
        """Make one of a text."""
        return cls(name, source, sha1(source, usedforsecurity=False).hexdigest().encode())


@cache
def script(name: str) -> Script:
    """Read C{lua/name.lua}, once for the process."""
    return Script.of(name, (files(__package__) / "lua" / f"{name}.lua").read_bytes())
