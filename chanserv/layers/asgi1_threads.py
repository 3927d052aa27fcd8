"""
The threads in which a blocking layer is called.

One L{Lane} makes all calls but C{receive}, one after the other, so that what
was sent first arrives first.  A L{Listener} receives from one set of channels,
as long as somebody waits for it.

A listener first takes what is there.  Then it asks the layer to block, which
comes back with a message or, as the specification allows, with nothing after a
while: so it sees in time that nobody waits any more.  A layer that comes back
with nothing B{at once} does not block at all; only then the listener looks
again after a pause, which grows while nothing comes and is cut short by a send
of this process.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.errors import ChannelLayerError, LayerUnavailable
from chanserv.layers.asgi1_calls import Asgi1Calls
from chanserv.messages import SealedMessage

Taken = list[tuple[str, SealedMessage]]
"""Messages, each with the full name of its channel."""

MAX_CALLS: Final = 10_000
"""Calls that wait for the lane: some seconds of work for a fast store, so that
more means one that is stuck, and senders had better know."""

MAX_LISTENERS: Final = 64
"""Sets of channels that are waited for at the same time, each by a thread; a
server waits for one, a worker for one.  As many threads again may be on their
way out, in a call that has yet to come back."""

LINGER: Final = 10.0
"""Seconds that a listener's thread outlives the last who waited: the next comes
at once as a rule, and a new thread costs more than one that sleeps."""

CLOSE_PATIENCE: Final = 10.0
"""Seconds that calls under way are given to come back when the layer is closed:
twice what the old layers block for."""

AT_ONCE: Final = 100
"""Messages that a listener takes before it hands them on: each is a trip of its
own, and the first should not wait for the last."""

BLOCKED_AT_LEAST: Final = 0.1
"""Seconds after which a call that found nothing is taken to have blocked."""

LEAST_PAUSE: Final = 0.001
"""Seconds between two looks into a layer that does not block, under traffic:
a fair part of what a request takes."""

MOST_PAUSE: Final = 0.02
"""The same when nothing comes: fifty looks a second cost next to nothing, and
the first message after a rest waits 10 ms on average."""

PAUSE_GROWTH: Final = 1.25
"""What each fruitless look makes of the pause; the longest is reached in 0.1 s."""

_log = Logger()


class Lane:
    """
    One thread that makes calls in the order they were asked for.

    C{call} and C{close} are for the reactor's thread.
    """

    def __init__(self, reactor: Any, name: str, max_calls: int = MAX_CALLS) -> None:
        """
        @param reactor: C{callFromThread}, C{callLater}.
        @param name: what the thread is called.
        """
        self._reactor = reactor
        self._name = name
        self._max_calls = max_calls
        self._calls: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed: Deferred[None] | None = None

    def call(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """
        Call C{function} in the thread.

        @return: fires on the reactor's thread with what it returns or raises;
            fails with L{LayerUnavailable} when too many calls wait.
        """
        answer: Deferred[Any] = Deferred()
        with self._changed:
            waiting = len(self._calls)
            if waiting < self._max_calls:
                self._calls.append((partial(function, *args), answer))
                self._changed.notify()
        if waiting >= self._max_calls:
            answer.errback(
                LayerUnavailable(
                    f"{waiting} calls wait for {self._name}: it is stuck, or too slow for this load"
                )
            )
        elif self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        return answer

    def close(self) -> Deferred[None]:
        """
        Take no more calls.

        @return: fires when those that were asked for have been made, or after
            L{CLOSE_PATIENCE}.
        """
        closed: Deferred[None] = Deferred()
        if self._thread is None:
            closed.callback(None)
            return closed
        giving_up = self._reactor.callLater(CLOSE_PATIENCE, self._lose_patience, closed)
        closed.addCallback(lambda _: giving_up.active() and giving_up.cancel())
        with self._changed:
            self._closed = closed
            self._changed.notify()
        return closed

    def _lose_patience(self, closed: Deferred[None]) -> None:
        with self._changed:
            left = len(self._calls)
        _log.warn(
            "{name} does not come back after {seconds} s: {count} more calls are not waited for",
            name=self._name,
            seconds=CLOSE_PATIENCE,
            count=left,
        )
        closed.callback(None)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._calls:
                    if self._closed is not None:
                        self._reactor.callFromThread(_fire, self._closed, None)
                        return
                    self._changed.wait()
                call, answer = self._calls.popleft()
            result: Any
            try:
                result = call()
            except Exception:
                result = Failure()  # type: ignore[no-untyped-call]
            self._reactor.callFromThread(_fire, answer, result)
            del call, answer, result


class Listener:
    """
    One thread that receives from one set of channels while somebody waits.

    C{want}, C{poke} and C{close} may be called from any thread.
    """

    def __init__(
        self,
        calls: Asgi1Calls,
        names: tuple[str, ...],
        arrived: Callable[[Listener, Taken, ChannelLayerError | None], object],
        ended: Callable[[Listener], object],
    ) -> None:
        """
        @param names: what to receive from.
        @param arrived: called in the thread with what was taken, and with the
            error that ended the taking, if one did.  Nothing more is taken
            until the next C{want}.
        @param ended: called in the thread when it ends.
        """
        self.names = names
        self._calls = calls
        self._arrived = arrived
        self._ended = ended
        self._changed = threading.Condition()
        # Under the lock of it:
        self._wanted = 0
        self._poked = False
        self._closed = False
        self._over = False
        # The thread's own:
        self._turn = 0
        self._pause = LEAST_PAUSE
        self._thread = threading.Thread(target=self._run, name=f"{calls.name} receive", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def want(self, limit: int) -> bool:
        """
        Take up to C{limit} messages from now on; 0 to stop.

        @return: whether the thread still lives.
        """
        with self._changed:
            self._wanted = limit
            self._changed.notify()
            return not self._over

    def poke(self) -> None:
        """Something has been sent: do not sleep now."""
        with self._changed:
            self._poked = True
            self._changed.notify()

    def close(self) -> None:
        """Let the thread end, at the latest when the layer's call comes back."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        try:
            while limit := self._next():
                taken: Taken = []
                error = None
                try:
                    self._take(limit, taken)
                except ChannelLayerError as caught:
                    error = caught
                if taken or error is not None:
                    with self._changed:
                        self._wanted = 0
                    self._arrived(self, taken, error)
        finally:
            self._ended(self)

    def _next(self) -> int:
        """How many messages are wanted; 0 when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or self._closed, LINGER)
            if self._closed or not self._wanted:
                self._over = True
                return 0
            return self._wanted

    def _take(self, limit: int, taken: Taken) -> None:
        """Wait for a message, and take those behind it up to C{limit}."""
        while not self._take_present(limit, taken):
            before = time.monotonic()
            found = self._calls.take(self._rotated(), block=True)
            if found is not None:
                taken.append(found)
                self._take_present(limit, taken)
                break
            if not self._still_wanted():
                return
            if time.monotonic() - before < BLOCKED_AT_LEAST:
                self._rest()
        self._pause = LEAST_PAUSE

    def _take_present(self, limit: int, taken: Taken) -> bool:
        """Take what is there; return whether there is anything now."""
        while len(taken) < min(limit, AT_ONCE):
            found = self._calls.take(self._rotated(), block=False)
            if found is None:
                break
            taken.append(found)
        return bool(taken)

    def _rotated(self) -> list[str]:
        """The names, another one first each time, for layers that read in order."""
        self._turn = (self._turn + 1) % len(self.names)
        return [*self.names[self._turn :], *self.names[: self._turn]]

    def _still_wanted(self) -> bool:
        with self._changed:
            return bool(self._wanted) and not self._closed

    def _rest(self) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._poked or self._closed or not self._wanted, self._pause
            )
            poked, self._poked = self._poked, False
        self._pause = LEAST_PAUSE if poked else min(self._pause * PAUSE_GROWTH, MOST_PAUSE)


def _fire(answer: Deferred[Any], result: Any) -> None:
    if not answer.called:
        answer.callback(result)
