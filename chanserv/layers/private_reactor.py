"""
A reactor that belongs to the channel layers of a program, and to nobody else.

It differs from the process's own in four ways.  It is never installed, so that
C{twisted.internet.reactor} stays the program's to choose.  It does not become
Twisted's "I/O thread", of which there is one for the process, and which a reactor
that the program itself runs goes by.  The threads it looks names up in do not
keep the program from ending.  And it can be held between two of its turns, which
is where a process may be forked: nothing is half done there, and no lock taken.

It stands on C{poll}.  An epoll descriptor would be one with the parent's in a
forked child, and what the child does to it the parent would suffer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import Any, Final
from weakref import WeakSet

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.internet.pollreactor import PollReactor
from twisted.python.threadpool import ThreadPool

RESOLVER_THREADS: Final = 4
"""Threads that look up host names: as many look-ups at once as a program with
several layers, of several servers each, needs without much waiting."""

HOLD_SECONDS: Final = 10.0
"""How long a fork waits for what must not be halved by it.  A turn of the reactor
takes milliseconds, and the making of a layer as long as its modules take to be
imported; past this, the process is forked all the same."""


class PrivateReactor(PollReactor):
    """
    See the module's text.

    Runs in one thread for its whole life: C{run(installSignalHandlers=False)}.

    @cvar for_guests: tells layers that their process is a guest on the layer,
        such as a shell: it comes and goes, and others carry the load.
    """

    for_guests = True

    _registerAsIOThread = False

    def __init__(self) -> None:
        self._turns = _Turns()
        self._met: WeakSet[Any] = WeakSet()
        super().__init__()  # type: ignore[no-untyped-call]
        self._poller: Any = _PollBetweenTurns(self._turns, self._poller)

    def addReader(self, reader: IReadDescriptor) -> None:
        """As on every reactor."""
        self._met.add(reader)
        super().addReader(reader)  # type: ignore[no-untyped-call]

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """As on every reactor."""
        self._met.add(writer)
        super().addWriter(writer)  # type: ignore[no-untyped-call]

    def getThreadPool(self) -> ThreadPool:
        """
        As on every reactor; but nobody waits for its threads.

        They are daemons, as is the thread that starts them; and the pool is not
        stopped with the reactor, which would wait for look-ups that hang.
        """
        if self.threadpool is None:
            self.threadpool = ThreadPool(0, RESOLVER_THREADS, "chanserv names")
            self.callWhenRunning(self.threadpool.start)
        return self.threadpool

    def mainLoop(self) -> None:
        """As on every reactor."""
        with self._turns.taken():
            super().mainLoop()

    def hold(self) -> Callable[[], None]:
        """
        Keep the reactor between two turns, for a fork.

        Any thread may call this.  After L{HOLD_SECONDS}, and on the reactor's
        own thread, it returns without holding anything.

        @return: lets go again.
        """
        return self._turns.hold(HOLD_SECONDS)

    def disown(self) -> None:
        """
        In a forked child: close the child's copies of all descriptors.

        Nothing is written to them and no connection is shut down: at the
        other end only the parent counts, also when it dies.
        """
        for one in list(self._met):
            # Plain close(2): what a socket's own object does, and no more.
            opened = getattr(one, "socket", None)
            if opened is not None:
                opened.close()
        waker, self.waker = self.waker, None
        for descriptor in (waker.i, waker.o):
            os.close(descriptor)
        waker.i = waker.o = None


class _Turns:
    """
    Whose turn it is: the reactor's, or that of a thread that forks.

    Two locks, since one would go back to the reactor at once each time: who
    wants the turn stands at the gate, and nobody overtakes there.
    """

    def __init__(self) -> None:
        self._gate = Lock()
        self._turn = Lock()
        self._thread: int | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """The reactor's life: all its turns, of one thread."""
        self._thread = get_ident()
        self.take()
        try:
            yield
        finally:
            self.give()

    def take(self) -> None:
        with self._gate:
            self._turn.acquire()

    def give(self) -> None:
        self._turn.release()

    def hold(self, seconds: float) -> Callable[[], None]:
        if get_ident() == self._thread or not self._gate.acquire(timeout=seconds):
            return lambda: None
        if not self._turn.acquire(timeout=seconds):
            return self._gate.release

        def let_go() -> None:
            self._turn.release()
            self._gate.release()

        return let_go


class _PollBetweenTurns:
    """C{select.poll}, waiting in which is nobody's turn."""

    def __init__(self, turns: _Turns, original: Any) -> None:
        self._turns = turns
        self._poll = original.poll
        self.register = original.register
        self.unregister = original.unregister

    def poll(self, timeout: int | None = None) -> list[tuple[int, int]]:
        self._turns.give()
        try:
            ready: list[tuple[int, int]] = self._poll(timeout)
        finally:
            self._turns.take()
        return ready
