"""
Says so when a process that runs the site in threads of its own has no thread left for
anything new.

A supervisor finds that out for its workers, and can replace them; nobody can for this
process, but an operator who knows.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from typing import ClassVar, Final

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from chanserv.worker.status import WorkerState, WorkerStatus

LOOK_EVERY: Final = 5.0
"""Seconds between two looks: C{--stuck-after} is longer."""

MAX_STACKS: Final = 20
"""Threads of which the log shows what they do; with more, the others do the like."""


class StuckWatch(Service):
    """
    Looks at a team of threads.
    """

    _log: ClassVar = Logger(namespace="chanserv")

    def __init__(
        self, look: Callable[[], WorkerStatus], call_later: Callable[..., IDelayedCall]
    ) -> None:
        """
        @param look: says how the team is, L{judged<WorkerStatus.judged>}.
        @param call_later: the reactor's C{callLater}.
        """
        self._look = look
        self._call_later = call_later
        self._next: IDelayedCall | None = None
        self._stuck = False

    def startService(self) -> None:
        """Begin to look."""
        super().startService()  # type: ignore[no-untyped-call]
        self._next = self._call_later(LOOK_EVERY, self._tick)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _tick(self) -> None:
        self._next = self._call_later(LOOK_EVERY, self._tick)
        status = self._look()
        stuck = status.state is WorkerState.STUCK
        if stuck and not self._stuck:
            self._log.error(
                "No thread has been free for {seconds:.0f} s (--stuck-after): all {threads} run "
                "what they ran then, and what else comes waits. What they do:\n{stacks}",
                seconds=status.blocked,
                threads=status.threads,
                release=status.release,
                stacks=stacks_of_the_team(),
            )
        elif self._stuck and not stuck:
            self._log.info("A thread is free again", release=status.release)
        self._stuck = stuck


def stacks_of_the_team() -> str:
    """What the threads of teams in this process do at this moment, for the log."""
    frames = sys._current_frames()
    shown = [
        f"{thread.name}:\n{''.join(traceback.format_stack(frames[thread.ident]))}"
        for thread in threading.enumerate()
        if thread.name.startswith("chanserv-") and thread.ident in frames
    ]
    return "\n".join(shown[:MAX_STACKS])
