"""
The options that all processes of an IPC layer must agree on.

Those of the process that hosts the hub count.  The others are told where theirs
differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chanserv.core.capacity import Capacities, Rules, checked_count, checked_seconds, rule_pairs
from chanserv.core.patterns import Pattern, RedeliveredNames


@dataclass(frozen=True)
class HubOptions:
    """
    What a hub's rules need to know; see
    L{IPCChannelLayer<chanserv.layers.ipc.IPCChannelLayer>} for each of them.
    """

    expiry: float
    group_expiry: float
    capacity: int
    mailbox_capacity: int
    max_message_size: int
    channel_capacity: tuple[tuple[Pattern, int], ...]
    redeliver: tuple[Pattern, ...]

    @classmethod
    def checked(
        cls,
        *,
        expiry: float,
        group_expiry: float,
        capacity: int,
        mailbox_capacity: int,
        max_message_size: int,
        channel_capacity: Rules | None,
        redeliver: Iterable[Pattern] | None,
    ) -> HubOptions:
        """
        The options as they were given, checked.

        @raise ConfigurationError: a value is out of range.
        """
        rules = tuple(rule_pairs(channel_capacity))
        Capacities(capacity, mailbox_capacity, rules)
        RedeliveredNames(redeliver)
        return cls(
            checked_seconds("expiry", expiry),
            checked_seconds("group_expiry", group_expiry),
            capacity,
            mailbox_capacity,
            checked_count("max_message_size", max_message_size),
            rules,
            tuple(redeliver or ()),
        )

    def capacities(self) -> Capacities:
        """The capacity of each mailbox."""
        return Capacities(self.capacity, self.mailbox_capacity, self.channel_capacity)

    def redelivers(self) -> RedeliveredNames:
        """The channels whose messages are not lost with their reader."""
        return RedeliveredNames(self.redeliver)

    def written(self) -> dict[str, Any]:
        """The same in plain values, to be compared with those of others."""
        return {
            "expiry": self.expiry,
            "group_expiry": self.group_expiry,
            "capacity": self.capacity,
            "mailbox_capacity": self.mailbox_capacity,
            "max_message_size": self.max_message_size,
            "channel_capacity": ", ".join(
                f"{_written(pattern)}: {capacity}" for pattern, capacity in self.channel_capacity
            ),
            "redeliver": ", ".join(map(_written, self.redeliver)),
        }


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """
    Where two processes' options differ, for a log; empty where they do not.

    @param mine: as L{HubOptions.written} gives them.
    """
    return ", ".join(
        f"{name} is {theirs.get(name)!r} there and {value!r} here"
        for name, value in mine.items()
        if theirs.get(name) != value
    )


def _written(pattern: Pattern) -> str:
    if isinstance(pattern, re.Pattern):
        return f"/{pattern.pattern}/{pattern.flags:x}"
    return repr(pattern)
