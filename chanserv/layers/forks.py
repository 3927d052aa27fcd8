"""
What a process takes over from the one that forked it, and must let go of.

A child of C{os.fork} has copies of all its parent's objects and descriptors, and
of its threads only the one that forked.  So a layer in it is a layer nobody
runs, on a connection that is the parent's.  Whoever has such things says so
with L{tell_after_fork}, and is told in every child.
"""

from __future__ import annotations

import os
from typing import Final, Protocol
from weakref import WeakSet

from twisted.logger import Logger

_log = Logger()


class Forked(Protocol):
    """Something that must not go on in a child as it was in the parent."""

    def forked(self) -> None:
        """
        Let go of what is the parent's, without a word to anyone: close
        descriptors, and neither write to them nor shut them down.

        Called in the child, on its only thread, before anything else is.
        What other threads of the parent held locked at that moment stays
        locked for ever.
        """


_told: Final[WeakSet[Forked]] = WeakSet()


def tell_after_fork(one: Forked) -> None:
    """Have C{one.forked()} called in each child that is forked while it lives."""
    _told.add(one)


def _tell_all() -> None:
    for one in list(_told):
        try:
            one.forked()
        except Exception:
            _log.failure("{one!r} could not let go of what is the parent process's", one=one)


os.register_at_fork(after_in_child=_tell_all)
