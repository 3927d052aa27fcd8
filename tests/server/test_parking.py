"""Where events wait that found their channel full."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chanserv.server.parking import LOT, Parked, Parking

CHANNELS = ["one", "two"]
MAX_EVENTS, MAX_BYTES = 120, 5000


class Parkings(RuleBasedStateMachine):
    """Against the plainest model: a list for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.parking: Parking[int] = Parking(2, MAX_EVENTS, MAX_BYTES)
        self.rows: dict[str, list[tuple[int, int]]] = {channel: [] for channel in CHANNELS}
        self.lot: list[Parked[int]] | None = None
        self.serial = 0

    def everything(self) -> list[tuple[int, int]]:
        return [entry for row in self.rows.values() for entry in row]

    @rule(channel=st.sampled_from(CHANNELS), size=st.integers(0, 200), count=st.integers(1, 70))
    def park(self, channel: str, size: int, count: int) -> None:
        for _ in range(count):
            self.serial += 1
            all_bytes = sum(size for _, size in self.everything())
            room = len(self.everything()) < MAX_EVENTS and all_bytes + size <= MAX_BYTES
            assert self.parking.park(channel, self.serial, size, 10.0) is room
            if room:
                self.rows[channel].append((self.serial, size))

    @precondition(lambda self: self.lot is None)
    @rule()
    def take(self) -> None:
        self.lot = self.parking.take_lot()
        for channel, row in self.rows.items():
            tried = [entry.item for entry in self.lot if entry.channel == channel]
            assert tried == [item for item, _ in row[:LOT]]
        assert all(entry.deadline == 12.0 for entry in self.lot)

    @precondition(lambda self: self.lot is not None)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        lot, self.lot = self.lot or [], None
        refused = [data.draw(st.booleans()) for _ in lot[:6]] + [True] * len(lot[6:])
        self.parking.settle(lot, refused)
        gone = {entry.item for entry, again in zip(lot, refused, strict=True) if not again}
        for row in self.rows.values():
            row[:] = [entry for entry in row if entry[0] not in gone]

    @precondition(lambda self: self.lot is None)
    @rule()
    def clear(self) -> None:
        self.parking.clear()
        for row in self.rows.values():
            row.clear()

    @invariant()
    def it_counts_what_waits(self) -> None:
        assert self.parking.events == len(self.everything())
        assert self.parking.bytes == sum(size for _, size in self.everything())

    @invariant()
    def a_channel_with_waiting_events_is_known(self) -> None:
        for channel, row in self.rows.items():
            if row:
                assert channel in self.parking
            elif self.lot is None:
                assert channel not in self.parking


TestParkings = Parkings.TestCase


def test_without_patience_nothing_waits() -> None:
    parking: Parking[int] = Parking(0, 10, 10)
    assert not parking.park("one", 1, 1, 0)
    assert not parking
