"""Which thread must never wait, and what a blocking face says to it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from twisted.python.threadable import isInIOThread

from chanserv.errors import WrongThread

PATIENCE: Final = 5.0
"""Seconds that C{receive(block=True)} waits when it is not told how long: the
caller's loop then gets a chance to see that it should end."""


def runs_here(reactor: Any = None) -> Callable[[], bool]:
    """
    Make the test whether the calling thread runs the reactor.

    @param reactor: the reactor to ask for; L{None} for the process's own, if
        it comes to have one.
    @return: a callable for any thread.  In a process whose reactor does not
        run, no thread is the reactor's.
    """

    def is_reactor_thread() -> bool:
        if not isInIOThread():  # type: ignore[no-untyped-call]
            return False
        running = sys.modules.get("twisted.internet.reactor") if reactor is None else reactor
        return bool(getattr(running, "running", False))

    return is_reactor_thread


def refusal() -> WrongThread:
    """What a blocking call on the reactor's thread raises."""
    return WrongThread(
        "a blocking channel layer call was made on the reactor's thread, which must not "
        "wait: use the Deferred methods of the layer there, or deferToThread"
    )
