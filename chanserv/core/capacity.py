"""How many messages a channel may hold: a default, and rules by pattern."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from chanserv.core.patterns import Pattern, matcher
from chanserv.errors import ConfigurationError
from chanserv.names import is_process_specific

CAPACITY: Final = 100
"""Messages an ordinary or single-reader channel holds: the spec's own figure,
a second or two of work for a busy worker, so that a full channel means trouble."""

MAILBOX_CAPACITY: Final = 10_000
"""Deliveries a mailbox holds: it carries the replies of every connection of a
process, so the figure of one channel would drop answers under ordinary load."""

Rules: TypeAlias = "Mapping[Pattern, int] | Iterable[tuple[Pattern, int]]"
"""Capacities by pattern; the first that matches counts."""


class Capacities:
    """
    The capacity of each mailbox.

    Patterns are matched against the name a message waits under: for a
    process-specific channel, the mailbox with its C{!}.  See L{matcher}.
    """

    __slots__ = ("_default", "_mailbox", "_rules")

    def __init__(
        self,
        default: int = CAPACITY,
        mailbox: int = MAILBOX_CAPACITY,
        rules: Rules | None = None,
    ) -> None:
        """
        @param default: messages an ordinary or single-reader channel holds.
        @param mailbox: deliveries a process-specific channel's mailbox holds.
        @param rules: exceptions from both.
        @raise ConfigurationError: a capacity is no whole number above 0, or a
            pattern is neither a glob nor a compiled expression.
        """
        self._default = checked_count("capacity", default)
        self._mailbox = checked_count("mailbox_capacity", mailbox)
        self._rules = [_rule(pair) for pair in rule_pairs(rules)]

    def of(self, mailbox: str) -> int:
        """
        How many deliveries C{mailbox} may hold.

        Looks at every rule: the caller keeps the answer as long as it keeps
        the mailbox.
        """
        for matches, capacity in self._rules:
            if matches(mailbox):
                return capacity
        return self._mailbox if is_process_specific(mailbox) else self._default


def rule_pairs(rules: object) -> Iterable[Any]:
    """
    C{rules} as pairs, whichever way they were given; the pairs are not checked.

    @raise ConfigurationError: they are neither a mapping nor a row of pairs.
    """
    if rules is None:
        return ()
    if isinstance(rules, Mapping):
        return rules.items()
    if isinstance(rules, str) or not isinstance(rules, Iterable):
        raise ConfigurationError(
            f"channel_capacity must be a mapping of patterns to capacities, such as "
            f"{{'http.request': 500}}, not {rules!r}"
        )
    return rules


def checked_count(option: str, value: object) -> int:
    """
    Return C{value} when it is a whole number above 0.

    @raise ConfigurationError: it is not; the message names C{option}.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{option} must be a whole number above 0, not {value!r}")
    return value


def checked_seconds(option: str, value: object) -> float:
    """
    Return C{value} when it is a number of seconds above 0.

    @raise ConfigurationError: it is not; the message names C{option}.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):  # type: ignore[operator]
        raise ConfigurationError(f"{option} must be a number of seconds above 0, not {value!r}")
    return float(value)  # type: ignore[arg-type]


def _rule(pair: object) -> tuple[Callable[[str], object], int]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ConfigurationError(
            f"channel_capacity must hold pairs of a pattern and a capacity, not {pair!r}"
        )
    pattern, capacity = pair
    checked_count(f"channel_capacity of {pattern!r}", capacity)
    return matcher("channel_capacity", pattern), capacity
