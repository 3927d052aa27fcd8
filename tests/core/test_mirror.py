"""What the owner of a mailbox knows of its members, and from which message on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chanserv.core.mirror import Change, Mirror

FAR = 1e9


def add(number: int, group: str, channel: str, until: float = FAR) -> Change:
    return Change(number, group, channel, until)


def discard(number: int, group: str, channel: str) -> Change:
    return Change(number, group, channel, 0)


def test_a_message_reaches_the_members_of_its_group() -> None:
    mirror = Mirror()
    mirror.note([add(1, "g", "p!a"), add(2, "h", "p!b"), add(3, "g", "p!c")])
    assert mirror.recipients("g", 3, 0) == ("p!a", "p!c")
    assert mirror.recipients("h", 3, 0) == ("p!b",)
    assert mirror.recipients("other", 3, 0) == ()


def test_a_change_counts_from_the_first_message_after_it() -> None:
    mirror = Mirror()
    mirror.note([add(1, "g", "p!a"), add(2, "g", "p!b"), discard(3, "g", "p!a")])
    assert mirror.recipients("g", 1, 0) == ("p!a",)
    assert mirror.recipients("g", 2, 0) == ("p!a", "p!b")
    assert mirror.recipients("g", 3, 0) == ("p!b",)


def test_catching_up_applies_what_no_message_has_come_for() -> None:
    mirror = Mirror()
    mirror.note([add(1, "g", "p!a")])
    mirror.catch_up()
    assert mirror.recipients("g", 0, 0) == ("p!a",)


def test_a_forgotten_channel_leaves_all_groups() -> None:
    mirror = Mirror()
    mirror.note([add(1, "g", "p!a"), add(2, "h", "p!a"), add(3, "h", "p!b")])
    mirror.note([Change(4, "", "p!a", 0)])
    assert mirror.recipients("g", 4, 0) == ()
    assert mirror.recipients("h", 4, 0) == ("p!b",)


def test_a_membership_ends_by_the_store_s_clock() -> None:
    mirror = Mirror()
    mirror.note([add(1, "g", "p!a", 10), add(2, "g", "p!b", 20)])
    assert mirror.recipients("g", 2, 9.9) == ("p!a", "p!b")
    assert mirror.recipients("g", 2, 10) == ("p!b",)
    assert mirror.recipients("g", 2, 20) == ()


def test_a_membership_added_again_lasts_longer() -> None:
    mirror = Mirror()
    mirror.note([add(1, "g", "p!a", 10), add(2, "g", "p!a", 20)])
    assert mirror.recipients("g", 2, 15) == ("p!a",)


def test_what_is_put_back_is_all_that_lasts() -> None:
    mirror = Mirror()
    mirror.note([add(1, "g", "p!a", 10), add(2, "g", "p!b", 20), add(3, "h", "p!a", 30)])
    mirror.note([discard(4, "h", "p!a"), add(5, "h", "p!c", 40)])
    assert sorted(mirror.memberships(10)) == [("g", "p!b", 20), ("h", "p!c", 40)]


def test_the_numbers_may_begin_anew_after_a_putting_back() -> None:
    mirror = Mirror()
    mirror.note([add(7, "g", "p!a")])
    list(mirror.memberships(0))
    mirror.note([add(1, "g", "p!b")])
    assert mirror.recipients("g", 0, 0) == ("p!a",)
    assert mirror.recipients("g", 1, 0) == ("p!a", "p!b")


def test_a_cleared_mirror_knows_nobody() -> None:
    mirror = Mirror()
    mirror.note([add(1, "g", "p!a"), add(2, "g", "p!b")])
    assert mirror.recipients("g", 1, 0) == ("p!a",)
    mirror.clear()
    assert mirror.recipients("g", 2, 0) == ()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("gh"), st.sampled_from(["p!a", "p!b", "p!c"])),
        st.tuples(
            st.just("discard"), st.sampled_from("gh"), st.sampled_from(["p!a", "p!b", "p!c"])
        ),
        st.tuples(st.just("forget"), st.just(""), st.sampled_from(["p!a", "p!b", "p!c"])),
        st.tuples(st.just("send"), st.sampled_from("gh"), st.just("")),
    )
)


@given(steps, st.data())
def test_early_news_changes_nothing(
    happened: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    """However early changes come, each message finds the members of its moment."""
    mirror, members, changes, messages = Mirror(), {"g": set(), "h": set()}, [], []
    for what, group, channel in happened:
        if what == "send":
            messages.append((group, len(changes), set(members[group])))
            continue
        changes.append(Change(len(changes) + 1, group, channel, FAR * (what == "add")))
        for name in (group,) if group else ("g", "h"):
            (members[name].add if what == "add" else members[name].discard)(channel)
    noted = 0
    for group, number, expected in messages:
        ahead = data.draw(st.integers(max(noted, number), len(changes)))
        mirror.note(changes[noted:ahead])
        noted = ahead
        assert set(mirror.recipients(group, number, 0)) == expected
