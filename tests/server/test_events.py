"""The queue of a connection's events."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chanserv.messages import SealedMessage
from chanserv.server.events import Event, EventQueue, Intake

WINDOW, MAX_HELD, MAX_BYTES = 2, 4, 100


class Events(RuleBasedStateMachine):
    """Against the plainest model: a list of all events, and how many are out."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = EventQueue(WINDOW, MAX_HELD, MAX_BYTES)
        self.all: list[Event] = []
        self.out: list[Event] = []
        self.flying = 0
        self.ended = False

    def send(self, event: Event) -> None:
        self.out.append(event)
        self.flying += 1

    @precondition(lambda self: not self.ended)
    @rule(size=st.integers(0, 60), last=st.booleans())
    def offer(self, size: int, last: bool) -> None:
        event = ("channel", SealedMessage({"order": self.queue.order}, size))
        self.all.append(event)
        now = self.queue.end(event) if last else self.queue.offer(event)
        self.ended = last
        if now:
            self.send(event)

    @rule()
    def land(self) -> None:
        if self.flying:
            self.flying -= 1
        self.queue.landed()
        while (event := self.queue.next()) is not None:
            self.send(event)

    @invariant()
    def events_go_out_in_their_order_and_as_soon_as_they_may(self) -> None:
        assert self.out == self.all[: len(self.out)]
        assert self.flying <= WINDOW
        assert self.flying == self.queue.in_flight
        assert len(self.queue) == len(self.all) - len(self.out)
        if self.flying < WINDOW:
            assert len(self.queue) == 0

    @invariant()
    def each_event_has_the_next_order(self) -> None:
        assert [message["order"] for _, message in self.all] == list(range(len(self.all)))

    @invariant()
    def the_intake_follows_what_is_held(self) -> None:
        held = self.all[len(self.out) :]
        size = sum(message.size for _, message in held)
        match self.queue.intake:
            case Intake.OPEN:
                assert len(held) < MAX_HELD
                assert size < MAX_BYTES
            case Intake.FULL:
                assert len(held) > MAX_HELD // 2 or size > MAX_BYTES // 2
            case Intake.ENDED:
                assert self.ended
        assert self.queue.finished() is (self.ended and not held)


TestEvents = Events.TestCase
