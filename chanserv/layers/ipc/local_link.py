"""The way to the hub within the process that has it: a call."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from chanserv.errors import LayerUnavailable
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.hub import Hub
from chanserv.layers.ipc.links import fire
from chanserv.layers.ipc.sessions import Session, Sink


class LocalLink:
    """
    The link of the host's own process.

    What is told while something is delivered waits until that is done, so that
    deliveries do not nest.  What is posted overtakes nothing that was told.
    """

    is_over = False

    def __init__(self, hub: Hub, sink: Sink, options: Mapping[str, Any]) -> None:
        self.options = options
        self._hub = hub
        self._session = hub.join(sink, "the host itself", is_host=True)
        self._told: deque[tuple[wire.Operation, Deferred[Any] | None]] = deque()
        self._telling = False
        if not hub.is_open:
            hub.when_open(self._opened)

    def post(self, operation: wire.Operation, weight: int, answer: Deferred[Any]) -> None:
        """See L{Link}."""
        if not self._hub.is_open and operation[0] != wire.PUT_BACK:
            self._told.append((operation, answer))
            return
        if self._told:
            self._do_told()
        results = self._hub.perform(self._session, (operation,))
        self._hub.attend()
        fire(answer, results[0][1] if results else None)

    def tell(
        self, operation: wire.Operation, weight: int = 100, answer: Deferred[Any] | None = None
    ) -> None:
        """See L{Link}."""
        self._told.append((operation, answer))
        self._opened()

    def _opened(self) -> None:
        if self._telling or not self._hub.is_open:
            return
        self._telling = True
        try:
            self._do_told()
        finally:
            self._telling = False
        self._hub.attend()

    def leave(self) -> int:
        """Take part no more; return how many messages were lost with that."""
        told, self._told = self._told, deque()
        lost = self._hub.leave(self._session)
        # What waited for the hub to open: it never will.
        error = LayerUnavailable("this IPC layer was closed before its hub was open")
        for _, answer in told:
            if answer is not None:
                answer.errback(error)
        self._hub.attend()
        return lost

    def session(self) -> Session:
        """The hub's own view of this process."""
        return self._session

    def _do_told(self) -> None:
        while self._told and self._hub.is_open:
            operation, answer = self._told.popleft()
            results = self._hub.perform(self._session, (operation,))
            if answer is not None:
                fire(answer, results[0][1] if results else None)
