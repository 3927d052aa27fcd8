"""The standings that an HTTP/2 connection goes through."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Standing(Enum):
    """Where a connection is."""

    OPEN = "open"
    NOTIFIED = "notified"
    """The client is being told to open no more streams.  Those that it opens
    before it has heard that are served."""
    LEAVING = "leaving"
    """It has heard; the connection ends with the last stream."""
    LINGERING = "lingering"
    """All is written; what still comes is thrown away, so that closing does not
    reset the connection under the last answers."""
    CLOSING = "closing"
    """Closed, when the last bytes are out."""
    GONE = "gone"


ENDING: Final = frozenset({Standing.LINGERING, Standing.CLOSING, Standing.GONE})
"""Those in which nothing is read or sent any more."""
