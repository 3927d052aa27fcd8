"""
How operations reach the hub: within the host by a call, from others by a socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from chanserv.errors import CorruptMessage, LayerUnavailable
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.hub import Hub
from chanserv.layers.ipc.sessions import Session, Sink
from chanserv.layers.ipc.stream import Stream

MAX_UNANSWERED: Final = 100_000
"""Operations of one process that the hub has not answered: more than any bounded
consumer produces while it waits, and some 50 MB at worst.  Past it they fail."""

MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes of one process that the hub has not read: as much as a hundred full-grown
channels' worth of common messages, or sixteen of the largest.  Past it they fail."""

SECOND_LOOK: Final = 0.5
"""Seconds between the end of the answer time-out and the verdict: should it be this
process that stood still, the answers are there to be read, and this lets it."""

ANSWER_TIMEOUT: Final = 10.0
"""Seconds without an answer after which the hub's process is taken for stopped:
a healthy one answers in thousandths, so what asks need not wait for longer."""

PARTING_TIMEOUT: Final = 2.0
"""Seconds that a process which closes its layer gives the hub to read the last of
what it was sent."""


class Link(Protocol):
    """
    The way to a hub.

    @ivar options: the hub's, as L{HubOptions.written} gives them.
    """

    @property
    def options(self) -> Mapping[str, Any]: ...

    @property
    def is_over(self) -> bool:
        """Whether the hub is no longer reached this way."""

    def post(self, operation: wire.Operation, weight: int, answer: Deferred[Any]) -> None:
        """
        Have C{operation} done.

        @param weight: roughly its bytes.
        @param answer: fires with the result, L{None} for "done"; or fails.
        """

    def tell(
        self, operation: wire.Operation, weight: int = 100, answer: Deferred[Any] | None = None
    ) -> None:
        """The same, where nothing refuses it, and few ask for the result."""


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
        _fire(answer, results[0][1] if results else None)

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
                _fire(answer, results[0][1] if results else None)


Undone: TypeAlias = tuple[wire.Operation, int, Deferred[Any]]
"""An operation, its weight, and who waits for its answer."""


class Parting(NamedTuple):
    """
    How a connection ended.

    @ivar reason: the error that calls fail with until there is another hub.
    @ivar failed: how many operations failed, that may have been done or not.
    @ivar undone: operations that were not done, and can be asked of the next hub.
    @ivar lost: how many messages were lost, if the hub said farewell.
    @ivar load: how many messages waited or were on lease when it last said so.
    @ivar roster: how many guests owned mailboxes.
    """

    reason: LayerUnavailable
    failed: int
    undone: list[Undone]
    lost: int | None
    load: int
    roster: int


class Owner(Protocol):
    """Who is told of a guest's connection."""

    def welcomed(self, link: RemoteLink, greeting: wire.Greeting) -> None:
        """The hub has greeted: operations can be sent."""

    def parted(self, link: RemoteLink, parting: Parting) -> None:
        """The connection is over."""


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
            f"in {self._answer_timeout:g} s: it is stopped, or something blocks its reactor"
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
        self._is_stalled = True
        error = self._stalled()
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
        self._is_stalled = False
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
                _fire(answer, special.get(index))

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
        self._expect(parted)
        self.put((wire.LEAVE,), 100)

    def _hang_up(self, _result: object) -> None:
        if not self.is_over:
            # What has come for nobody goes back first.
            self.flush()
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
        failed = _fail_all(doubtful, error)
        parting = Parting(error, failed, undone, self._lost, self._load, self._roster)
        self._owner.parted(self, parting)


def _fire(answer: Deferred[Any], result: tuple[int, Any] | None) -> None:
    """Fire with a result as it is written."""
    if result is None:
        answer.callback(None)
    elif result[0] == wire.ERROR:
        answer.errback(wire.read_error(result[1]))
    else:
        answer.callback(result[1])


def _fail_all(
    unanswered: Iterable[tuple[Deferred[Any] | None, wire.Operation | None, int]],
    error: LayerUnavailable,
) -> int:
    """Fail those that someone waits for; return how many of them were posted."""
    failed = 0
    for answer, operation, _ in unanswered:
        if answer is not None:
            failed += operation is not None
            answer.errback(error)
    return failed
