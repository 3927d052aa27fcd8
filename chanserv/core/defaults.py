"""What every layer of ours does unless its options say otherwise."""

from __future__ import annotations

from typing import Final

EXPIRY: Final = 60.0
"""Seconds that a message waits: the spec's figure; past it, whoever waits for
the answer has given up."""

GROUP_EXPIRY: Final = 86_400.0
"""Seconds that a membership lasts: the spec's figure, the longest that a
socket is expected to live."""

MAX_MESSAGE_SIZE: Final = 4 * 1024 * 1024
"""Bytes in one message: four times what the spec asks for, and small enough
that a full channel of such messages does not end the process."""
