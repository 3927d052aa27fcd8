"""
The end of an interface server, step by step.

It begins when nothing is accepted any more.  Connections that are open stay so for
a while: a request that comes on one is answered, with the word that the connection
closes then.  A client may have sent it before it could know, and there is nobody
else to answer.  WebSockets are closed one after the other, so that their clients do
not all come back in the same moment, each when what its client had sent is
answered.  After that, connections without a request are closed, and the server
waits for the others.

Last of all workers hear which connections have ended.  The server does not end
before they have, if they are quick.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from twisted.logger import Logger

from chanserv.server.context import Course, ServerContext, Stoppable

TICK: Final = 0.05
"""Seconds between two steps.  With a thousand sockets and five seconds ten are closed
in each: for their clients, and whoever serves them next, an even stream."""

LAST_WORD: Final = 0.5
"""Seconds between the last word to clients, when time is up, and the end of their
connections: it is to reach them."""

HEARING: Final = 2.0
"""Seconds that the end waits for workers to finish with the news of closed
connections: where nobody reads such news there would be no end."""

PARTING: Final = 0.5
"""Seconds that the end waits for the layer to take what is on its way, when time is
up."""


class Drain:
    """Ends all connections of a server."""

    _log = Logger()

    def __init__(self, context: ServerContext, finished: Callable[[], None]) -> None:
        """@param finished: is called once, when nothing is left."""
        self._context = context
        self._finished = finished
        self._sockets: deque[Stoppable] = deque()
        self._closes = 0
        self._spread = 0.0
        self._begun = 0.0
        self._deadline = 0.0
        self._quiet_until: float | None = None

    def begin(self) -> None:
        """Begin to end."""
        context = self._context
        context.course = Course.DRAINING
        context.farewells.counted = context.settles
        self._begun = context.clock.seconds()
        seconds = context.limits.stop_seconds
        self._deadline = self._begun + seconds
        self._spread = min(context.limits.drain, seconds)
        connections = list(context.connections)
        self._sockets.extend(one for one in connections if one.lasting)
        self._closes = len(self._sockets)
        self._have_each([one for one in connections if not one.lasting], "stop")
        self._step()

    def _have_each(self, connections: Iterable[Stoppable], call: str) -> None:
        """Call all of C{connections}; a fault costs the one that has it."""
        for connection in connections:
            try:
                getattr(connection, call)()
            except Exception:
                self._log.failure("A connection could not be ended")
                with suppress(Exception):
                    connection.abort()

    def _step(self) -> None:
        context = self._context
        now = context.clock.seconds()
        self._close_sockets(now)
        if context.course is Course.DRAINING and now >= self._begun + self._spread:
            context.course = Course.DRAINED
            self._have_each(list(context.connections), "close_idle")
        if not (context.connections or context.recipients):
            self._say_last(now)
        elif now >= self._deadline:
            self._give_up()
        else:
            context.clock.callLater(TICK, self._step)

    def _close_sockets(self, now: float) -> None:
        """Close the sockets whose turn has come: the first at once, the last at the end."""
        passed = now - self._begun
        due = self._closes
        if passed < self._spread:
            due = min(due, int(self._closes * passed / self._spread) + 1)
        while len(self._sockets) > self._closes - due:
            self._have_each([self._sockets.popleft()], "stop")

    # Where all connections have ended in time.

    def _say_last(self, now: float) -> None:
        context = self._context
        if self._quiet_until is None:
            context.course = max(context.course, Course.DRAINED)
            self._quiet_until = min(now + HEARING, max(self._deadline, now + PARTING))
            context.outlet.send_last_farewells()
            context.farewells.say_postponed()
        if (context.outlet.idle and context.farewells.unheard <= 0) or now >= self._quiet_until:
            context.counts.disconnects_dropped += context.farewells.end()
            self._finished()
        else:
            context.clock.callLater(TICK, self._say_last_again)

    def _say_last_again(self) -> None:
        self._say_last(self._context.clock.seconds())

    # Where they have not.

    def _give_up(self) -> None:
        """Time is up: tell who still waits, and then drop them."""
        clock = self._context.clock
        self._context.course = Course.ENDING
        self._give_up_connections()
        clock.callLater(LAST_WORD, self._give_up_connections)
        clock.callLater(LAST_WORD + TICK, self._leave)

    def _give_up_connections(self) -> None:
        self._have_each(list(self._context.connections), "give_up")

    def _leave(self) -> None:
        """Say what is left to say of connections whose last events are still under way."""
        context = self._context
        dropped = sum(recipient.leave() for recipient in list(context.recipients.values()))
        if dropped:
            context.counts.lost += dropped
            self._log.warn(
                "{dropped} messages of WebSockets were dropped: the consumers of those before them "
                "still run: give them longer with --drain-timeout, or see what keeps them",
                dropped=dropped,
            )
        now = context.clock.seconds()
        self._deadline = now + PARTING
        self._say_last(now)
