"""What the statistics of a layer are called."""

from __future__ import annotations

from typing import Final

STATISTICS_NAMES: Final = (
    "messages_count",
    "channel_full_count",
    "messages_expired_count",
    "messages_lost_count",
    "messages_pending",
    "messages_max_age",
)
"""What the statistics of a layer, or of a mailbox, hold at least, in the order in which
they are told."""
