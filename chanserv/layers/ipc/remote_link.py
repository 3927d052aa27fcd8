"""The way to the hub from all other processes: a socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from chanserv.errors import CorruptMessage, LayerUnavailable
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.links import (
    ANSWER_TIMEOUT,
    MAX_UNANSWERED,
    MAX_UNSENT,
    Owner,
    Parting,
    Undone,
    fire,
)
from chanserv.layers.ipc.sessions import Sink
from chanserv.layers.ipc.stream import Stream

SECOND_LOOK: Final = 0.5
"""Seconds between the end of the answer time-out and the verdict: should it be this
process that stood still, the answers are there to be read, and this lets it."""

PARTING_TIMEOUT: Final = 2.0
"""Seconds that a process which closes its layer gives the hub to read the last of
what it was sent."""


class RemoteLink(Stream):
    """The link of a guest: a connection to the hub."""

    def __init__(
        self,
        reactor: Any,
        mine: wire.Greeting,
        sink: Sink,
        owner: Owner,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        """
        @param mine: what this process tells of itself.
        @param sink: gets what is delivered.
        @param answer_timeout: seconds without an answer after which what has
            been asked fails.
        """
        super().__init__(reactor)
        self.options: Mapping[str, Any] = mine.options
        self._mine = mine
        self._sink = sink
        self._owner = owner
        self._answer_timeout = answer_timeout
        self._host: int | None = None
        self._unanswered: deque[tuple[Deferred[Any] | None, wire.Operation | None, int]] = deque()
        self._roster = 0
        self._load = 0
        self._lost: int | None = None
        self._is_stalled = False
        self._timer: IDelayedCall | None = None
        self._has_looked = False
        self._heard_at = 0.0
        self._leaving: IDelayedCall | None = None
        self._reason: LayerUnavailable | None = None

    # Operations

    def post(self, operation: wire.Operation, weight: int, answer: Deferred[Any]) -> None:
        """
        See L{Link}.

        It fails with L{LayerUnavailable} at once where the hub does not answer,
        or too much waits for it already.
        """
        refusal = self._refusal()
        if refusal is not None:
            answer.errback(refusal)
            return
        self._expect(answer, operation, weight)
        self.put(operation, weight)

    def tell(
        self, operation: wire.Operation, weight: int = 100, answer: Deferred[Any] | None = None
    ) -> None:
        """See L{Link}."""
        if not self.is_over:
            self._expect(answer)
            self.put(operation, weight)

    def _refusal(self) -> LayerUnavailable | None:
        if self.is_over:
            return LayerUnavailable("the connection to the hub of this IPC layer is over")
        if self._is_stalled:
            return self._stalled()
        if len(self._unanswered) >= MAX_UNANSWERED or self.unsent() > MAX_UNSENT:
            return LayerUnavailable(
                f"{len(self._unanswered)} operations and {self.unsent()} bytes wait for the "
                f"hub of this IPC layer in process {self._host} already: it is overloaded"
            )
        return None

    def _stalled(self) -> LayerUnavailable:
        return LayerUnavailable(
            f"process {self._host}, which hosts the hub of this IPC layer, has not answered "
            f"in {self._answer_timeout:g} s: it is stopped, or something blocks its reactor; let "
            f"it go on, or kill it and another takes its place"
        )

    def _expect(
        self,
        answer: Deferred[Any] | None,
        operation: wire.Operation | None = None,
        weight: int = 0,
    ) -> None:
        if not self._unanswered:
            self._heard_at = self._reactor.seconds()
            if self._timer is None:
                self._timer = self._reactor.callLater(self._answer_timeout, self._look)
        self._unanswered.append((answer, operation, weight))

    def _look(self) -> None:
        """The timer: see whether the hub still answers."""
        self._timer = None
        if not self._unanswered:
            return
        wait = self._heard_at + self._answer_timeout - self._reactor.seconds()
        if wait > 0:
            self._timer = self._reactor.callLater(wait, self._look)
            self._has_looked = False
            return
        if not self._has_looked:
            self._has_looked = True
            self._timer = self._reactor.callLater(SECOND_LOOK, self._look)
            return
        self._has_looked = False
        error = self._stalled()
        if not self._is_stalled:
            self._is_stalled = True
            self._log.warn("{error}", error=error)
        unanswered = self._unanswered
        self._unanswered = deque([(None, None, 0)] * len(unanswered))
        self._timer = self._reactor.callLater(self._answer_timeout, self._look)
        _fail_all(unanswered, error)

    # News

    def payload_received(self, payload: bytes) -> None:
        """See L{Stream.payload_received}."""
        if self._host is None:
            self._greeted(payload)
            return
        self._heard_at = self._reactor.seconds()
        if self._is_stalled:
            self._is_stalled = False
            self._log.info(
                "process {host}, which hosts the hub of this IPC layer, answers again",
                host=self._host,
            )
        for kind, *arguments in wire.unpacked(payload):
            if kind == wire.RESULTS:
                self._answered(*arguments)
            elif kind == wire.DELIVER:
                self._sink.deliver(*arguments)
            elif kind == wire.CHANGES:
                self._sink.change(*arguments)
            elif kind == wire.LOAD:
                (self._load,) = arguments
            elif kind == wire.ROSTER:
                (self._roster,) = arguments
            elif kind == wire.FLUSHED:
                self._sink.flushed()
            elif kind == wire.FAREWELL:
                (self._lost,) = arguments
            else:
                raise CorruptMessage(f"the hub sent news of the unknown kind {kind!r}")

    def _greeted(self, payload: bytes) -> None:
        try:
            greeting = wire.read_greeting(payload)
        except LayerUnavailable as error:
            self._reason = error
            self.abort()
            return
        self._host = greeting.pid
        self.options = greeting.options
        self._owner.welcomed(self, greeting)

    def _answered(self, count: int, results: Any) -> None:
        unanswered = self._unanswered
        if count > len(unanswered):
            raise CorruptMessage(f"the hub gave {count} results, {len(unanswered)} are due")
        special = dict(results)
        for index in range(count):
            answer = unanswered.popleft()[0]
            if answer is not None:
                fire(answer, special.get(index))

    # The connection

    @property
    def was_refused(self) -> bool:
        """Whether the hub would not have this process."""
        return self._reason is not None

    def part(self) -> None:
        """
        End the connection in order: when the hub has done all that was asked,
        and delivers nothing more.
        """
        if self.is_over:
            return
        self._leaving = self._reactor.callLater(PARTING_TIMEOUT, self.abort)
        parted: Deferred[None] = Deferred()
        parted.addBoth(self._hang_up)
        self.tell((wire.LEAVE,), answer=parted)

    def _hang_up(self, _result: object) -> None:
        if not self.is_over:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def connectionMade(self) -> None:
        """See L{Stream}."""
        super().connectionMade()
        self.put_payload(wire.greeting(self._mine))

    def over(self, unsent: int) -> None:
        """See L{Stream.over}."""
        for timer in (self._timer, self._leaving):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = None
        error = self._reason or LayerUnavailable(
            f"process {self._host}, which hosted the hub of this IPC layer, is gone; what had "
            f"been asked of it may have been done or not"
        )
        unanswered = list(self._unanswered)
        self._unanswered.clear()
        # After a farewell, all that has no result; otherwise what never left here.
        first = 0 if self._lost is not None else len(unanswered) - unsent
        undone: list[Undone] = []
        doubtful = unanswered[:first]
        for answer, operation, weight in unanswered[first:]:
            if answer is not None and operation is not None:
                undone.append((operation, weight, answer))
            else:
                doubtful.append((answer, operation, weight))
        posted = [one for one in doubtful if one[1] is not None]
        _fail_all(posted, error)
        failed = len(posted)
        parting = Parting(error, failed, undone, self._lost, self._load, self._roster)
        self._owner.parted(self, parting)
        # Who waits to hear that it was told must not tell more to this hub.
        _fail_all([one for one in doubtful if one[1] is None], error)


def _fail_all(
    unanswered: Iterable[tuple[Deferred[Any] | None, wire.Operation | None, int]],
    error: LayerUnavailable,
) -> None:
    """Fail those that someone waits for."""
    for answer, _, _ in unanswered:
        if answer is not None:
            answer.errback(error)
