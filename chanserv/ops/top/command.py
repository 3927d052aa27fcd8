"""The command itself: asks, shows, and hears keys, until it is told to stop."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, ClassVar, Final, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, Logger, LogLevel, eventAsText, globalLogBeginner
from twisted.python.failure import Failure

from chanserv.errors import ConfigurationError
from chanserv.interfaces import IChannelLayer
from chanserv.layers.from_spec import make_layer
from chanserv.layers.reach import keeps_a_roll, within_process
from chanserv.ops.glance import glance_at
from chanserv.ops.top.asker import Asker, Sample
from chanserv.ops.top.page import KEYS, Page, as_text, lines_of
from chanserv.ops.top.tables import view_of
from chanserv.ops.top.tallies import Tallies
from chanserv.ops.top.terminal import Terminal
from chanserv.ops.top.view import Piece, Style, View

LEAST_EVERY: Final = 0.5
MOST_EVERY: Final = 3600.0
"""Seconds between two samples: processes answer one asker no sooner, and who looks less
often than once an hour looks elsewhere."""

START_PATIENCE: Final = 30.0
"""Seconds for which the layer is waited for at the start: longer than any of ours takes to
say why it cannot be reached."""

CLOSE_PATIENCE: Final = 2.0
"""Seconds that the layer is given to close: who has pressed q does not wait longer."""

REMARK_LASTS: Final = 10.0
"""Seconds for which a line of the log stands at the bottom."""

PLAIN_WIDTH: Final = 100
"""Columns where the output is no terminal: room for names in full."""


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What an operator wants to see.

    @ivar every: seconds between two samples.
    @ivar once: whether to print one page, and end.
    @ivar as_json: whether to print samples as lines of JSON.
    """

    every: float = 1.0
    once: bool = False
    as_json: bool = False

    def __post_init__(self) -> None:
        if not LEAST_EVERY <= self.every <= MOST_EVERY:
            raise ConfigurationError(
                f"--every={self.every:g} must be from {LEAST_EVERY:g} to {MOST_EVERY:g} seconds"
            )


def layer_to_look_at(spec: Any, shown: str, reactor: Any) -> IChannelLayer:
    """
    Make the layer that C{spec} tells of, for one who only looks.

    @param shown: what it is called, without secrets.
    @raise ConfigurationError: nothing can be seen over it.
    """
    layer = make_layer(spec, reactor)
    if within_process(layer):
        raise ConfigurationError(
            f"the layer {shown} reaches only its own process, and nothing can be seen of it "
            f"from here: run the site over --layer=ipc:NAME or Redis and look at that, or "
            f"give the process itself --metrics"
        )
    if not keeps_a_roll(layer):
        raise ConfigurationError(
            f"over the layer {shown} processes cannot be asked: that takes groups whose "
            f"members leave with their process, as the IPC and Redis layers have them; give "
            f"each process --metrics instead"
        )
    if hasattr(layer, "never_be_the_host"):
        layer.never_be_the_host()
    return layer


class Top:
    """
    The view, from its start to its end.

    @ivar exit_code: what the process is to end with.
    """

    _log: ClassVar = Logger()

    def __init__(
        self,
        layer: IChannelLayer,
        shown: str,
        asked: Asked,
        reactor: Any,
        output: IO[str],
        complaints: IO[str],
        terminal: Callable[[Callable[[str], object], Callable[[], object]], Terminal] | None,
    ) -> None:
        """
        @param shown: what the layer is called, without secrets.
        @param output: where to print what is no screen.
        @param terminal: makes the screen, of two callables: for keys, and for when
            there are none to come; L{None} for none.
        """
        self.exit_code = 0
        self._layer = layer
        self._shown = shown
        self._asked = asked
        self._reactor = reactor
        self._output = output
        self._complaints = complaints
        self._asker = Asker(layer, reactor)
        self._tallies = Tallies()
        self._view = View([[Piece("chanserv top", Style.TITLE), Piece(f"  {shown}")]], {})
        self._page = Page.OVERVIEW
        self._offset = 0
        self._paused = False
        self._looking = False
        self._ending = False
        self._remark: tuple[float, str] | None = None
        self._next: IDelayedCall | None = None
        self._terminal = None if terminal is None else terminal(self.pressed, self.end)

    # From start to end

    def start(self) -> None:
        """Begin."""
        self._asker.start()
        Deferred.fromCoroutine(self._first()).addErrback(self._bug)

    async def _first(self) -> None:
        """See whether the layer answers; then look as asked."""
        there = await glance_at(self._layer, (), self._reactor, START_PATIENCE)
        if there.problem:
            self._cannot_be_reached(there.problem)
            return
        sample = await self._asker.sample(CLOSE_PATIENCE)
        if self._ending:
            return
        if self._terminal is not None:
            self._terminal.enter()
        if self._asked.once and not self._asked.as_json:
            # Rates take two.
            self._tallies.add(sample)
            await deferLater(self._reactor, self._asked.every)
            sample = await self._asker.sample(CLOSE_PATIENCE)
        self._has_come(sample)
        if self._asked.once:
            self.exit_code = 0 if sample.processes else 1
            self.end()
        elif not self._ending:
            self._next = self._reactor.callLater(self._asked.every, self._look)

    def _cannot_be_reached(self, problem: str) -> None:
        why = problem.rstrip(".")
        self._complaints.write(
            f"chanserv top: the layer {self._shown} cannot be reached: {why}. Is it the layer "
            f"that your processes were started with, and do they run?\n"
        )
        self.exit_code = 1
        self.end()

    def end(self) -> None:
        """Stop, as soon as everything has been put back."""
        if self._ending:
            return
        self._ending = True
        if self._terminal is not None:
            self._terminal.leave()
        if self._next is not None and self._next.active():
            self._next.cancel()
        leaving = self._asker.stop().addCallback(lambda _: maybeDeferred(self._layer.close))
        leaving.addTimeout(CLOSE_PATIENCE, self._reactor)
        leaving.addBoth(lambda _: self._reactor.stop() if self._reactor.running else None)

    # Samples

    def _look(self) -> None:
        self._next = None
        self._looking = True
        begun = self._reactor.seconds()
        patience = min(max(self._asked.every * 0.8, LEAST_EVERY), CLOSE_PATIENCE)
        sampling = self._asker.sample(patience).addCallback(self._has_come)
        sampling.addErrback(self._bug).addCallback(lambda _: self._look_again(begun))
        sampling.addErrback(self._bug)

    def _look_again(self, begun: float) -> None:
        self._looking = False
        if not self._ending and not self._paused:
            left = begun + self._asked.every - self._reactor.seconds()
            self._next = self._reactor.callLater(max(left, 0.0), self._look)

    def _has_come(self, sample: Sample) -> None:
        if self._ending:
            return
        self._tallies.add(sample)
        self._view = view_of(sample, self._tallies, self._shown, self._asked.every)
        if self._asked.as_json:
            self._print(json.dumps(sample.as_dict()) + "\n")
        elif self._terminal is None:
            text = as_text(lines_of(self._view, self._page, PLAIN_WIDTH))
            self._print(text if self._asked.once else text + "\n")
        else:
            self.draw()

    def _print(self, text: str) -> None:
        try:
            self._output.write(text)
            self._output.flush()
        except BrokenPipeError:
            # Whoever read has seen enough.  Python would complain once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._output.fileno())
            self.end()

    # The screen

    def draw(self) -> None:
        """Show what is known."""
        if self._terminal is None or self._ending:
            return
        width, height = self._terminal.size
        try:
            self._terminal.show(
                lines_of(
                    self._view,
                    self._page,
                    width,
                    height,
                    offset=self._offset,
                    footer=self._footer(),
                )
            )
        except OSError:
            # There is no screen any more.
            self.end()

    def _footer(self) -> list[Piece]:
        if self._remark is not None and self._remark[0] > self._reactor.seconds():
            return [Piece(self._remark[1], Style.WARN)]
        if self._paused:
            return [Piece("paused: p goes on, q quits", Style.WARN)]
        return [Piece(KEYS, Style.FAINT)]

    def pressed(self, key: str) -> None:
        """A key."""
        match key:
            case "q" | "Q":
                self.end()
                return
            case "p" | "P" | " ":
                self._pause()
            case "up" | "k":
                self._scroll(-1)
            case "down" | "j":
                self._scroll(1)
            case "page up":
                self._scroll(-10)
            case "page down":
                self._scroll(10)
            case _ if key.lower() in {page.value for page in Page}:
                self._page, self._offset = Page(key.lower()), 0
        self.draw()

    def _pause(self) -> None:
        self._paused = not self._paused
        if self._paused and self._next is not None:
            # Nobody is asked either: who looks at one moment wants the system to himself.
            self._next.cancel()
            self._next = None
        elif not self._paused and self._next is None and not self._looking:
            self._next = self._reactor.callLater(0, self._look)

    def _scroll(self, rows: int) -> None:
        if self._page is not Page.OVERVIEW:
            last = max(len(self._view.tables[self._page.table].rows) - 1, 0)
            self._offset = min(max(self._offset + rows, 0), last)

    # Around

    def note(self, event: dict[str, Any]) -> None:
        """Show what is said in the log, if it is worth it: an observer."""
        level = event.get("log_level")
        if level is None or level < LogLevel.warn:
            return
        text = eventAsText(
            event, includeTraceback=False, includeTimestamp=False, includeSystem=False
        )
        if self._terminal is None:
            self._complaints.write(f"chanserv top: {text}\n")
        else:
            self._remark = (self._reactor.seconds() + REMARK_LASTS, " ".join(text.split()))

    def suspend(self) -> None:
        """Stop as Ctrl-Z has it, with the terminal as it was; go on when told to."""
        if self._terminal is None or self._ending:
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        self._terminal.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._terminal.enter()
        self.draw()

    def _bug(self, failure: Failure) -> None:
        self._log.failure("The view has failed", failure)
        self._complaints.write(f"chanserv top: {failure.getTraceback()}\n")
        self.exit_code = 1
        self.end()


def run_top(spec: Any, shown: str, asked: Asked, environ: Mapping[str, str]) -> int:
    """
    Look until told to stop; return the exit code.

    @param spec: what to make the layer from; C{shown} is what to call it.
    @raise ConfigurationError: nothing can be seen over it.
    """
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    layer = layer_to_look_at(spec, shown, reactor)

    def terminal(pressed: Callable[[str], object], gone: Callable[[], object]) -> Terminal:
        keys = 0 if sys.stdin.isatty() else None
        return Terminal(reactor, pressed, gone, keys=keys, colour=not environ.get("NO_COLOR"))

    has_screen = sys.stdout.isatty() and environ.get("TERM", "dumb") != "dumb"
    on_screen = has_screen and not asked.once and not asked.as_json
    make_terminal = terminal if on_screen else None
    top = Top(layer, shown, asked, reactor, sys.stdout, sys.stderr, make_terminal)
    globalLogBeginner.beginLoggingTo(
        [cast(ILogObserver, top.note)], discardBuffer=True, redirectStandardIO=False
    )
    try:
        reactor.callWhenRunning(_begin, top, reactor)
        reactor.run()
    finally:
        top.end()
    return top.exit_code


def _begin(top: Top, reactor: Any) -> None:
    """Hear signals, now that the reactor has set up its own; and start."""

    def on(number: int, call: Callable[[], object]) -> None:
        signal.signal(number, lambda *_: reactor.callFromThread(call))

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        on(number, top.end)
    on(signal.SIGTSTP, top.suspend)
    on(signal.SIGWINCH, top.draw)
    top.start()
