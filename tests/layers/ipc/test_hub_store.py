"""The members that a mailbox's owner knows are those that the store has."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chanserv.core.capacity import Capacities
from chanserv.core.mirror import Mirror
from chanserv.core.patterns import NamePatterns
from chanserv.core.store import Store
from chanserv.layers.ipc import hub_store
from chanserv.layers.ipc.hub_store import Body, HubStore, as_message, data_of
from chanserv.messages import Outcome, SealedMessage

NOW = 100.0


def make(**config: Any) -> HubStore:
    given: dict[str, Any] = {
        "expiry": 60.0,
        "group_expiry": 600.0,
        "capacities": Capacities(),
        "max_message_size": 1000,
        "watched": (),
        "redelivers": NamePatterns(""),
        "owned": (),
    }
    return HubStore(**{**given, **config})


def body(text: bytes = b"x") -> SealedMessage:
    return as_message(Body(text, len(text)))


CHANNELS = st.sampled_from(["a!x", "a!y", "a!z", "b!x", "ordinary"])
GROUPS = st.sampled_from(["one", "two"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), GROUPS, CHANNELS),
        st.tuples(st.just("discard"), GROUPS, CHANNELS),
        st.tuples(st.just("forget"), GROUPS, CHANNELS),
        st.tuples(st.just("send"), GROUPS, CHANNELS),
        st.tuples(st.just("tell"), GROUPS, CHANNELS),
        st.tuples(st.just("take"), GROUPS, CHANNELS),
    ),
    max_size=60,
)


def take_both(store: HubStore, plain: Store, mirror: Mirror) -> None:
    """What waits in C{a!} goes to the same members, whoever keeps the list."""
    mirror.note(store.changes("a!") or ())
    for ours, theirs in zip(store.take(["a!"], 3, NOW), plain.take(["a!"], 3, NOW), strict=True):
        if len(ours[1]) == 1:
            assert ours[1] == theirs[1]
        else:
            mailbox, group, number = ours[1]
            assert mailbox == "a!"
            assert set(mirror.recipients(group, number, NOW)) == set(theirs[1])


@given(STEPS)
def test_an_owner_that_is_told_of_changes_knows_the_members_of_each_moment(
    steps: list[tuple[str, str, str]],
) -> None:
    store, mirror = make(), Mirror()
    plain = Store(60.0, 600.0, Capacities(), 1000)
    for step, group, channel in steps:
        if step == "tell":
            mirror.note(store.changes("a!") or ())
        elif step == "take":
            take_both(store, plain, mirror)
        else:
            for one in (store, plain):
                if step == "add":
                    one.add_member(group, channel, NOW)
                elif step == "discard":
                    one.discard_member(group, channel, NOW)
                elif step == "forget":
                    one.forget(channel, NOW)
                else:
                    one.put_group(group, body(), NOW)
    while plain.counts("a!", NOW)["messages_pending"]:
        take_both(store, plain, mirror)
    mirror.note(store.changes("a!") or ())
    mirror.catch_up()
    assert {one[:2] for one in mirror.memberships(NOW)} == {
        (group, channel)
        for group in ("one", "two")
        for channel in plain.members(group, NOW)
        if channel.startswith("a!")
    }


@given(STEPS)
def test_a_new_owner_that_gets_the_members_as_they_stand_knows_them(
    steps: list[tuple[str, str, str]],
) -> None:
    store = make()
    for step, group, channel in steps:
        if step == "add":
            store.add_member(group, channel, NOW)
        elif step == "discard":
            store.discard_member(group, channel, NOW)
        elif step == "forget":
            store.forget(channel, NOW)
        elif step == "tell":
            store.changes("a!")
    mirror = Mirror()
    mirror.note(store.standing("a!"))
    store.add_member("one", "a!last", NOW)
    mirror.note(store.changes("a!") or ())
    assert {one[:2] for one in mirror.memberships(NOW)} == {
        (group, channel)
        for group in ("one", "two")
        for channel in store.members(group, NOW)
        if channel.startswith("a!")
    }


def test_a_group_message_is_one_parcel_for_a_mailbox_and_names_no_member() -> None:
    store = make()
    for number in range(50):
        store.add_member("group", f"a!{number}", NOW)
    store.add_member("group", "ordinary", NOW)
    store.put_group("group", body(), NOW)
    (parcel,) = store.take(["a!"], 10, NOW)
    assert parcel[1] == ("a!", "group", 50)
    (parcel,) = store.take(["ordinary"], 10, NOW)
    assert parcel[1] == ("ordinary",)


def test_changes_are_told_once() -> None:
    store = make()
    store.add_member("group", "a!x", NOW)
    assert store.changed == {"a!"}
    assert store.changes("a!") == [(1, "group", "a!x", NOW + 600.0)]
    assert store.changes("a!") == []
    assert store.changes("unheard.of!") == []


def test_ordinary_channels_have_no_changes() -> None:
    store = make()
    store.add_member("group", "ordinary", NOW)
    store.discard_member("group", "ordinary", NOW)
    store.forget("ordinary", NOW)
    assert store.changed == set()


def test_changes_that_nobody_takes_are_not_kept_without_bound(monkeypatch: Any) -> None:
    monkeypatch.setattr(hub_store, "MAX_CHANGES", 10)
    store = make()
    for number in range(11):
        store.add_member("group", f"a!{number % 3}", NOW)
    assert store.changes("a!") is None
    assert {one[2] for one in store.standing("a!")} == {"a!0", "a!1", "a!2"}
    assert store.changes("a!") == []
    store.add_member("group", "a!3", NOW)
    assert store.changes("a!") == [(12, "group", "a!3", NOW + 600.0)]


def test_mailboxes_without_owner_members_or_messages_are_not_kept_for_ever(
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr(hub_store, "FIRST_WEEDING", 10)
    owned: set[str] = {"owned!"}
    store = make(owned=owned)
    for name in ("owned!x", "peopled!x"):
        store.add_member("group", name, NOW)
    store.discard_member("group", "owned!x", NOW)
    for number in range(1_000):
        store.add_member("group", f"gone{number}!x", NOW)
        store.forget(f"gone{number}!x", NOW)
    assert len(store._rolls) < 50
    assert {"owned!", "peopled!"} <= set(store._rolls)
    assert len(store.changed) < 50


class TestAMailboxWhoseOwnerIsGone:
    def test_it_goes_with_its_messages_and_memberships(self) -> None:
        store = make()
        store.add_member("group", "a!x", NOW)
        store.add_member("group", "b!x", NOW)
        store.put("a!x", body(), None, NOW)
        store.put("a!x", body(), "reply!x", NOW)
        store.put_group("group", body(), NOW)
        assert store.remove_mailbox("a!", NOW) == 3
        assert store.members("group", NOW) == ["b!x"]
        assert not store.holds_any("a!")
        assert store.totals(NOW)["messages_lost_count"] == 3
        # One for b!, and one receipt.
        assert store.totals(NOW)["messages_pending"] == 2
        (receipt,) = store.take(["reply!"], 5, NOW)
        assert data_of(receipt) == hub_store.RECEIPT_BODIES[Outcome.LOST].data

    def test_where_there_is_none_nothing_happens(self) -> None:
        assert make().remove_mailbox("a!", NOW) == 0

    def test_what_was_in_it_does_not_expire_later(self) -> None:
        store = make()
        store.put("a!x", body(), "reply!x", NOW)
        store.remove_mailbox("a!", NOW)
        store.take(["reply!"], 5, NOW)
        store.expire(NOW + 1_000)
        assert store.totals(NOW + 1_000)["messages_expired_count"] == 0
        assert store.totals(NOW + 1_000)["messages_pending"] == 0


class TestPuttingBack:
    def test_memberships_begin_again_with_the_time_that_is_left(self) -> None:
        store = make()
        store.put_back_members("a!", [("group", "a!x", 30.0), ("group", "a!y", 40.0)], NOW)
        assert store.members("group", NOW + 29) == ["a!x", "a!y"]
        assert store.members("group", NOW + 31) == ["a!y"]
        assert store.members("group", NOW + 41) == []

    def test_what_was_said_of_them_since_counts(self) -> None:
        store = make()
        store.discard_member("group", "a!discarded", NOW)
        store.forget("a!forgotten", NOW)
        store.add_member("group", "a!added", NOW)
        store.put_back_members(
            "a!",
            [
                (group, channel, 30.0)
                for group in ("group", "other")
                for channel in ("a!discarded", "a!forgotten", "a!added", "a!stays")
            ],
            NOW,
        )
        assert set(store.members("group", NOW)) == {"a!added", "a!stays"}
        assert set(store.members("other", NOW)) == {"a!discarded", "a!added", "a!stays"}
        assert set(store.members("group", NOW + 60)) == {"a!added", "a!stays"}

    def test_a_group_that_was_put_back_can_be_sent_to_at_once(self) -> None:
        store = make()
        store.put_back_members("a!", [("group", "a!x", 30.0)], NOW)
        assert not store.knows_all_changes("a!")
        store.put_group("group", body(), NOW)
        (parcel,) = store.take(["a!"], 5, NOW)
        mirror = Mirror()
        mirror.note(store.standing("a!"))
        assert mirror.recipients("group", parcel[1][2], NOW) == ("a!x",)  # type: ignore[arg-type]


def test_flush_begins_the_numbers_anew() -> None:
    store = make()
    store.add_member("group", "a!x", NOW)
    store.clear()
    assert store.changed == set()
    store.add_member("group", "a!y", NOW)
    assert store.changes("a!") == [(1, "group", "a!y", NOW + 600.0)]
