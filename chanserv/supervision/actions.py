"""What an operator may say of worker processes, and what is then to be done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Rules:
    """
    What an operator may say of it.

    @ivar workers: how many slots there are.
    @ivar stop_timeout: seconds that a worker which drains waits for its consumers.
    @ivar finish_timeout: the same for one whose place another has taken.
    @ivar start_timeout: seconds that it may take to load the site.
    @ivar stuck_after: seconds without progress after which it counts as stuck.
    @ivar replace_stuck: whether it is then replaced.
    @ivar loading: how many new workers load the site at once while others work:
        loading takes a whole core for a second or more, which those need too.
    """

    workers: int
    stop_timeout: float = 10.0
    finish_timeout: float = 300.0
    start_timeout: float = 120.0
    stuck_after: float = 60.0
    replace_stuck: bool = False
    loading: int = 1


# What is to be done


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the process of a member."""

    member: int
    slot: int


@dataclass(frozen=True, slots=True)
class Tell:
    """
    Tell a member what to do: C{go}, C{finish}, C{drain}, C{wait} or C{show}.

    One that is to C{finish} takes nothing more, and has much time for what it runs;
    one that is to C{drain} has little.
    """

    member: int
    what: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End a member's process at once."""

    member: int


@dataclass(frozen=True, slots=True)
class Say:
    """
    Log something.

    @ivar level: C{info}, C{warn} or C{error}.
    @ivar last_lines_of: the member whose last lines belong to it, if any.
    """

    level: str
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    last_lines_of: int | None = None


@dataclass(frozen=True, slots=True)
class Replacement:
    """
    A replacement begins or ends.

    @ivar succeeded: whether new workers have taken over; L{None} at its start.
    """

    succeeded: bool | None = None


Action: TypeAlias = Spawn | Tell | Kill | Say | Replacement
Actions: TypeAlias = Iterator[Action]
