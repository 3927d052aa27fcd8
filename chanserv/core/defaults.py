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

WORKERS_GROUP: Final = "chanserv.workers"
"""The group of all workers that take messages: who sends to workers sees by it
whether there are any."""

PROCESSES_GROUP: Final = "chanserv.processes"
"""The group of all processes that answer when they are asked how they do."""
