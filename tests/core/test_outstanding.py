from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from chanserv.core.outstanding import Outstanding

STORES = ("one", "two")
CHANNELS = ("process!a", "process!b", "single?c")


def test_a_store_that_lost_all_owes_what_has_not_come() -> None:
    outstanding = Outstanding()
    for channel in ("process!a", "process!b", "process!a", "process!a"):
        outstanding.asked("one", channel)
    outstanding.asked("two", "process!c")
    outstanding.answered("one", "process!a")
    assert outstanding.lost("one") == ["process!a", "process!a", "process!b"]
    assert outstanding.lost("one") == []
    assert outstanding.count == 1
    assert outstanding.lost("two") == ["process!c"]


def test_what_was_never_asked_for_is_no_debt() -> None:
    outstanding = Outstanding()
    outstanding.answered("one", "process!a")
    outstanding.asked("one", "process!a")
    outstanding.answered("two", "process!a")
    outstanding.answered("one", "process!b")
    assert outstanding.count == 1
    assert outstanding.lost("one") == ["process!a"]


def test_what_finds_no_room_is_counted_and_not_owed() -> None:
    outstanding = Outstanding(limit=2)
    for number in range(5):
        outstanding.asked("one", f"process!{number}")
    assert (outstanding.count, outstanding.unnoted) == (2, 3)
    outstanding.answered("one", "process!4")
    assert outstanding.count == 2
    outstanding.answered("one", "process!0")
    outstanding.asked("one", "process!5")
    assert outstanding.lost("one") == ["process!1", "process!5"]


def test_a_flush_leaves_nothing_owed() -> None:
    outstanding = Outstanding()
    outstanding.asked("one", "process!a")
    outstanding.clear()
    assert outstanding.count == 0
    assert outstanding.lost("one") == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["asked", "answered", "lost"]),
            st.sampled_from(STORES),
            st.sampled_from(CHANNELS),
        )
    )
)
def test_it_owes_what_was_asked_less_what_was_answered(steps) -> None:
    outstanding = Outstanding()
    model: Counter[tuple[str, str]] = Counter()
    for step, store, channel in steps:
        if step == "asked":
            outstanding.asked(store, channel)
            model[store, channel] += 1
        elif step == "answered":
            outstanding.answered(store, channel)
            model[store, channel] = max(0, model[store, channel] - 1)
        else:
            expected = Counter(
                {where: count for (what, where), count in model.items() if what == store and count}
            )
            assert Counter(outstanding.lost(store)) == expected
            for where in CHANNELS:
                model[store, where] = 0
        assert outstanding.count == sum(model.values())
