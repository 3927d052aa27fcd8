"""
Where a process's operations go: to its hub, or, while there is none, to wait for
one for a short time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall

from chanserv.errors import LayerUnavailable
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.links import MAX_UNANSWERED, MAX_UNSENT, Link, Undone

PATIENCE: Final = 5.0
"""Seconds that an operation waits for a hub: many times what it takes the processes
to agree on a new host, and short enough for whoever waits to say so."""


class Desk:
    """
    Takes operations.

    What is waiting goes out in its order, when a hub is found; past
    L{PATIENCE}, L{MAX_UNANSWERED} or L{MAX_UNSENT} it fails.

    @ivar link: the way to the hub, while there is one.
    @ivar reason: why there is none, for errors.
    """

    def __init__(self, reactor: Any, patience: float) -> None:
        """
        @param patience: seconds that an operation waits for a hub.
        """
        self._reactor = reactor
        self._patience = patience
        self._held: deque[tuple[float, wire.Operation, int, Deferred[Any]]] = deque()
        self._held_weight = 0
        self._releasing = False
        self._timer: IDelayedCall | None = None
        self._closed: LayerUnavailable | None = None
        self.link: Link | None = None
        self.reason = "no other process hosts it yet"

    def post(self, operation: wire.Operation, weight: int = 100) -> Deferred[Any]:
        """
        Have C{operation} done; see L{Link.post}.

        @return: fires with the result.
        """
        if self._closed is not None:
            return fail(self._closed)
        answer: Deferred[Any] = Deferred()
        # What an answer sets off comes behind all that waited.
        if self.link is None or self.link.is_over or (self._releasing and self._held):
            self._hold(operation, weight, answer)
        else:
            self.link.post(operation, weight, answer)
        return answer

    def tell(
        self, operation: wire.Operation, weight: int = 100, answer: Deferred[Any] | None = None
    ) -> None:
        """
        The same, where nothing refuses it; see L{Link.tell}.  Without a hub it is
        dropped: what is told concerns that one hub.
        """
        if self.link is not None:
            self.link.tell(operation, weight, answer)

    def found(self, link: Link) -> None:
        """There is a hub.  Next comes L{release}."""
        self.link = link

    def release(self) -> None:
        """Send what has waited for the hub."""
        self._releasing = True
        try:
            # An answer may be news that the hub is gone again.
            while self._held and self.link is not None and not self.link.is_over:
                _, operation, weight, answer = self._held.popleft()
                self._held_weight -= weight
                self.link.post(operation, weight, answer)
        finally:
            self._releasing = False
        if not self._held:
            self._stop_timer()

    def lost(self, reason: str, undone: Sequence[Undone] = ()) -> None:
        """
        The hub is gone.

        @param undone: what it has not done, and the next is to do.
        """
        self.link = None
        self.reason = reason
        # What its end has set off comes behind what it has not done.
        later, self._held = self._held, deque()
        for operation, weight, answer in undone:
            if operation[0] == wire.PUT_BACK:
                # The next is told anew, and first of all.
                answer.errback(LayerUnavailable(reason))
                continue
            if operation[0] == wire.BATCH:
                # Its leases were those of that hub.
                operation = (*operation[:2], (), operation[3])
            self._hold(operation, weight, answer)
        self._held += later

    def held(self) -> list[wire.Operation]:
        """What waits for the next hub."""
        return [operation for _, operation, _, _ in self._held]

    def close(self, error: LayerUnavailable) -> None:
        """Fail what waits, and all that comes."""
        self._closed = error
        self._stop_timer()
        while self._held:
            self._held.popleft()[3].errback(error)

    def _hold(self, operation: wire.Operation, weight: int, answer: Deferred[Any]) -> None:
        if self._closed is not None:
            answer.errback(self._closed)
            return
        if len(self._held) >= MAX_UNANSWERED or self._held_weight > MAX_UNSENT:
            answer.errback(self._unavailable())
            return
        self._held.append((self._reactor.seconds(), operation, weight, answer))
        self._held_weight += weight
        if self._timer is None:
            self._timer = self._reactor.callLater(self._patience, self._give_up)

    def _give_up(self) -> None:
        """The timer: fail what has waited too long."""
        self._timer = None
        now = self._reactor.seconds()
        while self._held and self._held[0][0] + self._patience <= now:
            _, _, weight, answer = self._held.popleft()
            self._held_weight -= weight
            answer.errback(self._unavailable())
        if self._held and self._timer is None:
            wait = max(0.0, self._held[0][0] + self._patience - now)
            self._timer = self._reactor.callLater(wait, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _unavailable(self) -> LayerUnavailable:
        return LayerUnavailable(
            f"the hub of this IPC layer has not been reached in {self._patience:g} s: {self.reason}"
        )
