"""What the processes of the development server show on the console."""

from __future__ import annotations

import logging

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    STDLibLogObserver,
    globalLogBeginner,
)


def show_warnings() -> None:
    """
    Pass on what is logged in this process, from warnings up, to Python's
    C{logging} under C{chanserv}; to standard error, where the site's C{LOGGING}
    has no other place for it.
    """
    logger = logging.getLogger("chanserv")
    if not logger.hasHandlers():
        shown = logging.StreamHandler()
        shown.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(shown)
    observer = FilteringLogObserver(
        STDLibLogObserver("chanserv"), [LogLevelFilterPredicate(LogLevel.warn)]
    )
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)
