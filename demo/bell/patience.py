"""
The end of a long wait.

A request that nobody answers would be cut off in the end, by the interface
server or by a proxy on the way.  So each is told "nothing yet" in good time, by
one thread of the worker process that took it.  That thread waits for all of
them: a waiting request costs a place in a list here, and no thread.

Where the worker process ends first, the page gives up by itself, and asks anew.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Condition, Thread

from bell import answers
from chanserv.django import Channel

SECONDS = 25.0
"""How long a request waits: shorter than any proxy's usual 30 or 60 s."""


class Patience:
    """Reply channels, each with the time when its wait is over."""

    def __init__(
        self, seconds: float = SECONDS, channel: Callable[[str], Channel] = Channel
    ) -> None:
        """
        @param seconds: how long each waits.
        @param channel: gives the channel of a name.
        """
        self._seconds = seconds
        self._channel = channel
        # All wait equally long, so the first to come is the first to end.
        self._ends: OrderedDict[str, float] = OrderedDict()
        self._changed = Condition()
        self._thread: Thread | None = None

    def begin(self, channel: str) -> None:
        """Start the wait of the request behind C{channel}."""
        with self._changed:
            self._ends[channel] = time.monotonic() + self._seconds
            if self._thread is None:
                self._thread = Thread(target=self._watch, name="bell-patience", daemon=True)
                self._thread.start()
            self._changed.notify()

    def forget(self, channel: str) -> None:
        """That request is over: answered, or its client left."""
        with self._changed:
            self._ends.pop(channel, None)

    def _watch(self) -> None:
        while True:
            self._channel(self._next()).send(answers.nothing_yet(), immediately=True)

    def _next(self) -> str:
        """Wait until some wait is over, and take it off the list."""
        with self._changed:
            while True:
                channel, end = next(iter(self._ends.items()), ("", None))
                rest = None if end is None else end - time.monotonic()
                if rest is not None and rest <= 0:
                    del self._ends[channel]
                    return channel
                self._changed.wait(rest)


patience = Patience()
"""The one of this process."""
