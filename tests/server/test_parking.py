"""Where events wait for room in their channel, or for a worker."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chanserv.server.parking import LOT, Parked, Parking

CHANNELS = ["one", "two"]
MAX_EVENTS, MAX_BYTES = 120, 5000


class Parkings(RuleBasedStateMachine):
    """Against the plainest model: a list for each channel, of (item, size, farewell)."""

    def __init__(self) -> None:
        super().__init__()
        self.parking: Parking[int] = Parking(MAX_EVENTS, MAX_BYTES)
        self.rows: dict[str, list[tuple[int, int, bool]]] = {channel: [] for channel in CHANNELS}
        self.lot: list[Parked[int]] | None = None
        self.serial = 0

    def everything(self, farewells: bool | None = None) -> list[tuple[int, int, bool]]:
        entries = [entry for row in self.rows.values() for entry in row]
        return sorted(entry for entry in entries if farewells in (None, entry[2]))

    def tried(self) -> set[int]:
        return {entry.item for entry in self.lot or []}

    def drop(self, gone: set[int]) -> None:
        for row in self.rows.values():
            row[:] = [entry for entry in row if entry[0] not in gone]

    @rule(
        channel=st.sampled_from(CHANNELS),
        size=st.integers(0, 200),
        count=st.integers(1, 70),
        farewell=st.booleans(),
    )
    def park(self, channel: str, size: int, count: int, farewell: bool) -> None:
        for _ in range(count):
            self.serial += 1
            others = self.everything(farewells=False)
            all_bytes = sum(size for _, size, _ in others)
            room = farewell or (len(others) < MAX_EVENTS and all_bytes + size <= MAX_BYTES)
            deadline = float(self.serial % 7)
            assert room is self.parking.park(
                channel, self.serial, size, deadline, name=str(self.serial), farewell=farewell
            )
            if room:
                self.rows[channel].append((self.serial, size, farewell))

    @precondition(lambda self: self.lot is None)
    @rule()
    def take(self) -> None:
        self.lot = self.parking.take_lot()
        for channel, row in self.rows.items():
            tried = [entry.item for entry in self.lot if entry.channel == channel]
            assert tried == [item for item, _, _ in row[:LOT]]
        assert [entry.item for entry in self.lot] == sorted(self.tried())

    @precondition(lambda self: self.lot is not None)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        lot, self.lot = self.lot or [], None
        refused = [data.draw(st.booleans()) for _ in lot[:6]] + [True] * len(lot[6:])
        self.parking.settle(lot, refused)
        self.drop({entry.item for entry, again in zip(lot, refused, strict=True) if not again})

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        item = data.draw(st.integers(0, self.serial + 1))
        waits = item in {one for one, _, _ in self.everything()} - self.tried()
        assert self.parking.withdraw(str(item)) is waits
        if waits:
            self.drop({item})

    @rule(now=st.integers(0, 8))
    def let_time_pass(self, now: int) -> None:
        overdue = [entry.item for entry in self.parking.take_overdue(now)]
        expected = [
            item
            for item, _, _ in self.everything(farewells=False)
            if item % 7 <= now and item not in self.tried()
        ]
        assert overdue == expected
        self.drop(set(overdue))

    @rule()
    def take_farewells(self) -> None:
        farewells = [entry.item for entry in self.parking.take_farewells()]
        expected = [item for item, _, _ in self.everything(farewells=True)]
        assert farewells == [item for item in expected if item not in self.tried()]
        self.drop(set(farewells))

    @precondition(lambda self: self.lot is None)
    @rule()
    def clear(self) -> None:
        assert self.parking.clear() == len(self.everything(farewells=True))
        for row in self.rows.values():
            row.clear()

    @invariant()
    def it_counts_what_waits(self) -> None:
        events, farewells = self.everything(farewells=False), self.everything(farewells=True)
        assert self.parking.events == len(events)
        assert self.parking.bytes == sum(size for _, size, _ in events)
        assert self.parking.farewells == len(farewells)
        assert self.parking.farewell_bytes == sum(size for _, size, _ in farewells)

    @invariant()
    def a_channel_with_waiting_events_is_known(self) -> None:
        for channel, row in self.rows.items():
            if row:
                assert channel in self.parking
            elif self.lot is None:
                assert channel not in self.parking


TestParkings = Parkings.TestCase


def test_nothing_is_overdue_before_the_reprieve_ends() -> None:
    parking: Parking[int] = Parking(10, 100)
    parking.park("one", 1, 1, 5.0)
    parking.reprieve = 20.0
    assert parking.take_overdue(19.0) == []
    [entry] = parking.take_overdue(20.0)
    assert entry.item == 1
    assert parking.has_time(entry, 19.0)
    assert not parking.has_time(entry, 20.0)


def test_a_row_of_which_all_is_tried_keeps_its_place_when_the_rest_is_withdrawn() -> None:
    parking: Parking[int] = Parking(LOT + 1, 10_000)
    for number in range(LOT + 1):
        parking.park("one", number, 1, 5.0, name=str(number))
    lot = parking.take_lot()
    assert parking.withdraw(str(LOT))
    assert "one" in parking
    parking.settle(lot, [False] * LOT)
    assert "one" not in parking
    assert not parking
