"""
The threads of a team, and the way to them and back.

Runs go out on one queue that all threads read.  They come back on a list that
the reactor's thread empties: the first thread to put something there wakes the
reactor, and those that finish before it has got round to looking need not.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final

from twisted.logger import Logger

from chanserv.interfaces import IApplication
from chanserv.worker.runs import Ending, Run, perform

_log: Final = Logger(namespace="chanserv.worker")


def start_daemon_thread(work: Callable[[], None], name: str) -> Thread:
    """
    Start a thread that does not keep the process from ending.

    A team waits for its threads when it stops, but not for ever: a consumer
    that hangs must not make the whole program hang at its exit, as the
    interpreter would for threads that are not daemons.
    """
    thread = Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


class Threads:
    """
    Some threads that perform runs.

    Methods are called on the reactor's thread, and so are the two callbacks.
    """

    __slots__ = (
        "_alive",
        "_application",
        "_call_from_thread",
        "_ended",
        "_finished",
        "_process",
        "_queue",
        "_return",
        "_seconds",
        "_woken",
    )

    def __init__(
        self,
        application: IApplication,
        call_from_thread: Callable[[Callable[[], None]], object],
        returned: Callable[[list[Run]], None],
        ended: Callable[[], None],
        seconds: Callable[[], float],
    ) -> None:
        """
        @param application: whose consumers the runs are of.
        @param call_from_thread: the reactor's C{callFromThread}.
        @param returned: called with finished runs, one or many, in the order in
            which they finished.
        @param ended: called when the last thread has ended, after L{end}.
        @param seconds: the clock of the runs' deadlines; called in any thread.
        """
        self._application = application
        self._call_from_thread = call_from_thread
        self._return = returned
        self._ended = ended
        self._seconds = seconds
        self._queue: SimpleQueue[Run | None] = SimpleQueue()
        self._finished: deque[Run | None] = deque()
        self._woken = False
        self._alive = 0
        self._process = 0

    def start(
        self, names: list[str], start_thread: Callable[[Callable[[], None], str], object]
    ) -> None:
        """Start one thread for each of C{names}."""
        self._process = os.getpid()
        for name in names:
            self._alive += 1
            start_thread(self._work, name)

    def put(self, run: Run) -> None:
        """Have the next idle thread perform C{run}."""
        self._queue.put(run)

    def end(self) -> None:
        """End each thread when it is idle."""
        for _ in range(self._alive):
            self._queue.put(None)

    def take_back(self) -> list[Run]:
        """Take back, and return, the runs that no thread has begun."""
        runs: list[Run] = []
        with suppress(Empty):
            while (run := self._queue.get_nowait()) is not None:
                runs.append(run)
        return runs

    def _work(self) -> None:
        """What each thread does, until it is told to end."""
        take, finished, perform = self._queue.get, self._finished.append, self._perform
        while (run := take()) is not None:
            perform(run)
            finished(run)
            if not self._woken:
                self._wake()
        finished(None)
        self._wake()

    def _perform(self, run: Run) -> None:
        began = self._seconds()
        if began >= run.deadline:
            run.ending = Ending.EXPIRED
            return
        run.began = began
        try:
            perform(run, self._application, self._process)
        except BaseException:
            # Nothing of the site's gets here, so it is our own mistake, or the
            # end of memory; a thread less would not make it better.
            _log.failure("A worker's thread failed to run {consumer}", consumer=run.consumer)
            run.ending = Ending.FAULT
        run.took = self._seconds() - began

    def _wake(self) -> None:
        # The flag goes down before the list is emptied, and up after something
        # was added: whoever finds it up has been, or will be, seen.  Two threads
        # that find it down at once wake the reactor twice, which costs little.
        self._woken = True
        self._call_from_thread(self._collect)

    def _collect(self) -> None:
        self._woken = False
        finished = self._finished
        runs: list[Run] = []
        while finished:
            run = finished.popleft()
            if run is None:
                self._alive -= 1
            else:
                runs.append(run)
        if runs:
            self._return(runs)
        if not self._alive:
            self._ended()
