"""
The thread that runs channel layers in a program without a reactor.

A shell, a cron command, a WSGI server's worker or a task has no reactor to keep
a layer's connections.  On the first use of a layer the process gets one, in a
daemon thread: L{process_thread}.  All layers of the process share it.

I{At the end} of the program its layers are closed, which is when what they owe
to others is said, and the reactor stops; both are bounded, and nothing of it
keeps the program alive.  Who has been told by a C{send} that the message is in
the store has nothing to fear from an end without that, such as C{os._exit}.

I{After a fork} the child has no such thread, though it has copies of the layers
and of their descriptors.  It closes the latter in silence, leaves the former
alone, and makes everything anew on its next use.  So that nothing is half done
in what is copied, the reactor is held between two turns while the process forks.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar, cast

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    STDLibLogObserver,
    globalLogPublisher,
)
from twisted.python.failure import Failure

from chanserv.errors import LayerUnavailable
from chanserv.interfaces import IChannelLayer
from chanserv.layers.forks import tell_after_fork
from chanserv.layers.private_reactor import HOLD_SECONDS, PrivateReactor

T = TypeVar("T")

_log = Logger()

START_SECONDS: Final = 30.0
"""How long the thread may take to run, and to make a layer: it is a matter of
milliseconds, on a machine that is not at its end."""

END_SECONDS: Final = 5.0
"""How long the end of a program waits for its layers to close.  They have little
to say; and who pressed Ctrl-C does not want to do it again."""


class ReactorThread:
    """
    A private reactor in a daemon thread, and the layers on it.

    @ivar reactor: the reactor.  Of its methods, other threads call
        C{callFromThread} alone.
    @ivar ended: whether it takes no calls any more.
    """

    def __init__(self) -> None:
        self.reactor = PrivateReactor()
        self.ended = False
        self._pid = os.getpid()
        self._layers: set[IChannelLayer] = set()
        self._thread = threading.Thread(target=self._run, name="chanserv layers", daemon=True)

    def start(self) -> None:
        """Start it.  Whatever is asked of it before it runs is done then."""
        self._thread.start()

    def _run(self) -> None:
        self.reactor.run(installSignalHandlers=False)

    def runs_here(self) -> bool:
        """Whether the calling thread is this one."""
        return threading.get_ident() == self._thread.ident

    @property
    def usable(self) -> bool:
        """Whether this process has it, and it takes calls."""
        return not self.ended and self._pid == os.getpid()

    def add(self, make: Callable[[PrivateReactor], IChannelLayer]) -> IChannelLayer:
        """
        Make a layer on this reactor, to be closed at the program's end.

        Any other thread may call this, and waits.

        @param make: makes it; is called on the reactor's thread.
        @raise LayerUnavailable: it could not be made in L{START_SECONDS}.
        @raise ConfigurationError: as C{make} does.
        """
        made: Future[IChannelLayer] = Future()

        def begin() -> None:
            if not made.set_running_or_notify_cancel():
                return
            try:
                layer = make(self.reactor)
            except BaseException as error:
                made.set_exception(error)
            else:
                self._layers.add(layer)
                made.set_result(layer)

        self.reactor.callFromThread(begin)
        try:
            return made.result(START_SECONDS)
        except TimeoutError:
            if not made.cancel() and made.done():
                raise
            raise LayerUnavailable(
                f"the channel layer could not be made in {START_SECONDS:g} s: this process "
                f"gives its thread no time"
            ) from None

    def remove(self, layer: IChannelLayer) -> None:
        """Close C{layer}, which nobody uses any more.  Any thread; does not wait."""
        if self.usable:
            self.reactor.callFromThread(self._remove, layer)

    def close(self, layer: IChannelLayer) -> None:
        """Close C{layer}, and wait for that for L{END_SECONDS}.  Any other thread."""
        if self.usable:
            closed = threading.Event()
            self.reactor.callFromThread(self._remove, layer, closed.set)
            closed.wait(END_SECONDS)

    def _remove(self, layer: IChannelLayer, closed: Callable[[], object] = lambda: None) -> None:
        if layer not in self._layers:
            closed()
            return
        self._layers.remove(layer)
        closing = maybeDeferred(layer.close).addErrback(_report)
        closing.addBoth(lambda _: closed())
        closing.addErrback(_report)

    def end(self, seconds: float = END_SECONDS) -> None:
        """
        Close all layers, and stop.  May be called twice.

        @param seconds: no longer than this, whatever the layers do.
        """
        if not self.usable:
            return
        self.ended = True
        self.reactor.callFromThread(self._end)
        self._thread.join(seconds)

    def _end(self) -> None:
        closing = [maybeDeferred(layer.close).addErrback(_report) for layer in self._layers]
        self._layers.clear()
        everything: Deferred[Any] = DeferredList(closing)
        everything.addCallback(lambda _: self.reactor.stop())
        everything.addErrback(_report)

    def forked(self) -> None:
        """In a forked child: let go of what is the parent's."""
        self.reactor.disown()


def _report(failure: Failure) -> None:
    _log.failure("a channel layer did not close in order", failure)


class _Process:
    """
    What this process has of all that.

    @ivar lock: held while a thread, or a layer on it, is being made; and modules
        are imported for that, whose locks no fork may copy.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.ending = False
        self._thread: ReactorThread | None = None
        self._inherited: list[ReactorThread] = []
        self._logs = False
        self._held = threading.local()

    def thread(self) -> ReactorThread:
        with self.lock:
            thread = self._thread
            if thread is None or not thread.usable:
                if self.ending:
                    raise LayerUnavailable(
                        "this program is ending, and has closed its channel layers"
                    )
                self._log_to_logging()
                thread = self._thread = ReactorThread()
                thread.start()
                _before_the_end(self.end)
            return thread

    def end(self) -> None:
        """At the end of the program."""
        self.ending = True
        if self._thread is not None:
            self._thread.end()

    def before_fork(self) -> None:
        """Wait until nothing is half done: neither made here, nor by the reactor."""
        held = self._held.__dict__.setdefault("by_this_thread", [])
        if self.lock.acquire(timeout=HOLD_SECONDS):
            held.append(self.lock.release)
        thread = self._thread
        if thread is not None and thread.usable:
            held.append(thread.reactor.hold())

    def after_fork_in_parent(self) -> None:
        """Go on."""
        for let_go in self._held.__dict__.pop("by_this_thread", ()):
            let_go()

    def forked(self) -> None:
        """
        In a forked child: begin anew.

        The parent's thread is kept, for ever: what is never collected can
        never say a last word on a connection that is not its own.
        """
        self.lock = threading.RLock()
        self.ending = False
        self._held = threading.local()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._inherited.append(thread)
            thread.forked()

    def _log_to_logging(self) -> None:
        """
        Have what chanserv logs go to Python's C{logging}, under C{chanserv}.

        A program with a reactor of its own has set up Twisted's log, too.
        """
        if self._logs or "twisted.internet.reactor" in sys.modules:
            return
        self._logs = True
        globalLogPublisher.addObserver(cast(ILogObserver, _pass_on))


_to_logging: Final = STDLibLogObserver("chanserv")


def _pass_on(event: LogEvent) -> None:
    if str(event.get("log_namespace", "")).startswith("chanserv."):
        _to_logging(event)


def _before_the_end(end: Callable[[], None]) -> None:
    """Have C{end} called as the program ends, whichever way it does so."""
    atexit.unregister(end)
    atexit.register(end)
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        # Its children end without the functions of atexit.
        from multiprocessing.util import Finalize

        Finalize(None, end, exitpriority=0)


_process: Final = _Process()
tell_after_fork(_process)
os.register_at_fork(before=_process.before_fork, after_in_parent=_process.after_fork_in_parent)


def process_thread() -> ReactorThread:
    """
    The thread for the layers of this process; it is started where it does not run.

    Any thread may call this.

    @raise LayerUnavailable: the program is ending.
    """
    return _process.thread()


def process_lock() -> threading.RLock:
    """
    The lock under which this process makes its layers.

    A forked child has another, which nobody holds.
    """
    return _process.lock
