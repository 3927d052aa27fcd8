"""
Room for connections among the files that the process may have open.

Systems let a process open 1,024 files at first, so that programs on
C{select} do not break, and far more when it asks.
"""

from __future__ import annotations

import resource
from typing import Final

OTHER_FILES: Final = 200
"""Files beside connections: the reactor's, the log, databases, the bodies of
large uploads."""


def make_room(connections: int) -> int:
    """
    Raise the soft limit on open files, as far as is needed and allowed.

    It is the process's own, and child processes inherit it.

    @param connections: how many there may be at once.
    @return: for how many of them there is room, but for a few other files.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections
    wanted = connections + OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (OSError, ValueError):  # the system has a bound below its own hard limit
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(connections, soft)
