"""Leases: each settled once, by its own reader, or abandoned with it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chanserv.core.ledger import Ledger

READERS = st.sampled_from(["one", "other", "third"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("lease"), READERS, st.integers()),
        st.tuples(st.just("settle"), READERS, st.integers(0, 30)),
        st.tuples(st.just("abandon"), READERS, st.just(0)),
    ),
    max_size=60,
)


def test_a_lease_is_settled_once() -> None:
    ledger: Ledger[str, str] = Ledger()
    number = ledger.lease("reader", "thing")
    assert ledger.settle("reader", number) == "thing"
    assert ledger.settle("reader", number) is None
    assert len(ledger) == 0


def test_nobody_settles_what_another_has() -> None:
    ledger: Ledger[str, str] = Ledger()
    number = ledger.lease("reader", "thing")
    assert ledger.settle("stranger", number) is None
    assert ledger.settle("reader", number) == "thing"


def test_numbers_go_on_when_all_leases_are_ended() -> None:
    ledger: Ledger[str, str] = Ledger()
    first = ledger.lease("reader", "thing")
    ledger.clear()
    assert ledger.settle("reader", first) is None
    assert ledger.lease("reader", "thing") != first


@given(STEPS)
def test_each_thing_comes_back_once_in_the_order_in_which_it_was_taken(
    steps: list[tuple[str, str, int]],
) -> None:
    ledger: Ledger[str, int] = Ledger()
    held: dict[str, dict[int, int]] = {}
    for step, reader, value in steps:
        if step == "lease":
            number = ledger.lease(reader, value)
            assert number > 0
            assert all(number not in leases for leases in held.values())
            held.setdefault(reader, {})[number] = value
        elif step == "settle":
            assert ledger.settle(reader, value) == held.get(reader, {}).pop(value, None)
        else:
            assert ledger.abandon(reader) == list(held.pop(reader, {}).values())
        assert len(ledger) == sum(map(len, held.values()))
