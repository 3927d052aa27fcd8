"""What waits to be sent: put together, bounded, and told of in time."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from chanserv.errors import LayerUnavailable
from chanserv.layers.ipc import desk as desk_module
from chanserv.layers.ipc import stream, wire
from chanserv.layers.ipc.desk import Desk
from chanserv.layers.ipc.frames import FrameReader
from chanserv.layers.ipc.stream import Outgoing, Stream


class Watched(Stream):
    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.happened: list[str] = []

    def congested(self) -> None:
        self.happened.append("congested")

    def relieved(self) -> None:
        self.happened.append("relieved")

    def over(self, unsent: int) -> None:
        self.happened.append(f"over, {unsent} unsent")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def made(clock: Clock) -> Watched:
    made = Watched(clock)
    made.makeConnection(StringTransport())
    return made


def sent(made: Watched) -> list[Any]:
    """What has been sent since, frame by frame."""
    frames = [wire.unpacked(payload) for payload in FrameReader().feed(made.transport.value())]
    made.transport.clear()
    return frames


def test_what_is_put_in_one_turn_goes_in_one_frame(made: Watched, clock: Clock) -> None:
    for number in range(3):
        made.put(number, 10)
    assert sent(made) == []
    clock.advance(0)
    assert sent(made) == [(0, 1, 2)]
    made.put(3, 10)
    clock.advance(0)
    assert sent(made) == [(3,)]


def test_much_goes_in_several_frames_in_its_order(made: Watched, clock: Clock) -> None:
    for number in range(10):
        made.put(number, stream.FRAME_BYTES // 4 + 1)
    clock.advance(0)
    frames = sent(made)
    assert len(frames) == 3
    assert [number for frame in frames for number in frame] == list(range(10))


def test_one_thing_that_is_more_than_a_frame_should_hold_goes_alone() -> None:
    outgoing = Outgoing()
    outgoing.add("large", 10 * stream.FRAME_BYTES)
    outgoing.add("small", 1)
    assert outgoing.take() == ["large"]
    assert outgoing.take() == ["small"]
    assert (outgoing.weight, len(outgoing)) == (0, 0)


def test_a_full_transport_is_congestion_until_all_is_sent(made: Watched, clock: Clock) -> None:
    made.pauseProducing()
    made.put("waits", 10)
    clock.advance(0)
    assert (made.happened, sent(made)) == (["congested"], [])
    made.resumeProducing()
    assert made.happened == ["congested", "relieved"]
    assert sent(made) == [("waits",)]


def test_much_that_is_unsent_is_congestion_before_the_turn_ends(
    made: Watched, clock: Clock
) -> None:
    made.put("much", stream.CONGESTED_BYTES + 1)
    assert made.happened == ["congested"]
    clock.advance(0)
    assert made.happened == ["congested", "relieved"]


def test_the_end_tells_how_much_was_never_sent(made: Watched, clock: Clock) -> None:
    made.put("sent", 10)
    clock.advance(0)
    made.put("never", 10)
    made.put("neither", 10)
    made.connectionLost()
    made.connectionLost()
    made.put("too late", 10)
    clock.advance(0)
    assert made.happened == ["over, 2 unsent"]
    assert sent(made) == [("sent",)]


class TestWhereThereIsNoHub:
    def refusals(self, answers: list[Deferred[Any]]) -> list[str]:
        said: list[str] = []
        for answer in answers:
            answer.addErrback(
                lambda failure: said.append(str(failure.value)) or failure.trap(LayerUnavailable)
            )
        return said

    def test_operations_wait_for_one_and_no_longer_than_they_may(self, clock: Clock) -> None:
        desk = Desk(clock, 5.0)
        first = self.refusals([desk.post((wire.FLUSH,))])
        clock.advance(3)
        second = self.refusals([desk.post((wire.FLUSH,))])
        clock.advance(2)
        assert (len(first), len(second)) == (1, 0)
        assert "has not been reached in 5 s" in first[0]
        clock.advance(3)
        assert len(second) == 1
        assert clock.getDelayedCalls() == []

    @pytest.mark.parametrize(
        ("bound", "value", "weight"), [("MAX_UNANSWERED", 3, 1), ("MAX_UNSENT", 29, 10)]
    )
    def test_no_more_wait_than_there_is_room_for(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, weight: int
    ) -> None:
        monkeypatch.setattr(desk_module, bound, value)
        desk = Desk(clock, 5.0)
        said = self.refusals([desk.post((wire.FLUSH,), weight) for _ in range(5)])
        assert len(said) == 2
        clock.advance(5)
        assert len(said) == 5
