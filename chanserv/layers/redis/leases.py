"""How long a process is believed to live that says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chanserv.errors import ConfigurationError

READER_LEASE: Final = 3.5
"""Seconds without a sign of life after which what a process has not settled is
lost: with the second that may pass until somebody looks, a dead worker is known
within five."""

SIGNS: Final = 3.5
"""Signs of life in that time, one a second: two may come late or not at all."""

OWNER_LEASE: Final = 20.0
"""Seconds without one after which the mailboxes of a process end, and their
memberships: longer, since what a stalled interface server has lost by that can
not be given to another; and below the thirty seconds that are promised."""


@dataclass(frozen=True)
class Leases:
    """
    How long, in seconds, a process is believed to live: what it has taken, and
    what mailboxes it has.
    """

    reader: float = READER_LEASE
    owner: float = OWNER_LEASE

    def __post_init__(self) -> None:
        # The signs of life come by the shorter one: past the other, they come too late.
        if self.owner < self.reader:
            raise ConfigurationError(
                f"owner_lease must not be below reader_lease, which is {self.reader:g} seconds, "
                f"not {self.owner:g}"
            )

    @property
    def heartbeat(self) -> float:
        """Seconds between signs of life."""
        return self.reader / SIGNS


DEFAULT_LEASES: Final = Leases()
