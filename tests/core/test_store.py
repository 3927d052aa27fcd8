from __future__ import annotations

from collections.abc import Callable

import pytest

from chanserv.core.capacity import Capacities
from chanserv.core.deadlines import NEVER
from chanserv.core.store import MAX_IDLE, Store
from chanserv.errors import ChannelFull, MessageTooLarge
from chanserv.messages import Outcome, SealedMessage, seal


def store(watched: tuple[str, ...] = (), capacity: int = 100) -> Store:
    return Store(60.0, 3600.0, Capacities(capacity), 1000, watched)


def message(number: int = 0) -> SealedMessage:
    return SealedMessage({"number": number}, 14)


def take(from_: Store, *mailboxes: str, limit: int = 1000, now: float = 0.0) -> list[str]:
    """The first recipients of what is taken."""
    return [parcel[1][0] for parcel in from_.take(mailboxes, limit, now)]


class TestTurns:
    def test_channels_give_one_message_each_in_turn(self) -> None:
        one = store()
        for channel in "aaabbc":
            one.put(channel, message(), None, 0)
        assert take(one, "a", "b", "c") == ["a", "b", "c", "a", "b", "a"]

    def test_the_channel_read_least_recently_gives_first(self) -> None:
        one = store()
        for channel in "aaabbbccc":
            one.put(channel, message(), None, 0)
        first = [take(one, "a", "b", "c", limit=1)[0] for _ in range(6)]
        assert sorted(first[:3]) == sorted(first[3:]) == ["a", "b", "c"]

    def test_readers_of_different_channels_do_not_disturb_each_others_turns(self) -> None:
        one = store()
        for channel in "ab" * 20 + "cd" * 20:
            one.put(channel, message(), None, 0)
        got = ""
        for _ in range(10):
            got += take(one, "a", "b", limit=1)[0]
            take(one, "c", "d", limit=1)
        assert got in ("ab" * 5, "ba" * 5)

    def test_a_channel_that_is_new_again_and_again_does_not_starve_one_that_stays(self) -> None:
        one = store()
        for _ in range(50):
            one.put("stays", message(), None, 0)
        got = ""
        for number in range(20):
            for idle in range(MAX_IDLE + 1):
                one.put(f"idle{number}.{idle}", message(), None, 0)
                take(one, f"idle{number}.{idle}")
            one.put("new", message(), None, 0)
            got += take(one, "new", "stays", limit=1)[0][0]
        assert "s" in got[:3]


class TestArrivals:
    def test_only_watched_mailboxes_are_told_of(self) -> None:
        one = store(watched=("a", "p!"))
        for channel in ("a", "b", "p!x", "q!x"):
            one.put(channel, message(), None, 0)
        assert list(one.arrived) == ["a", "p!"]

    def test_group_messages_and_receipts_arrive_too(self) -> None:
        one = store(watched=("p!",))
        one.add_member("g", "p!1", 0)
        one.add_member("g", "p!2", 0)
        one.put_group("g", message(), 0)
        assert list(one.arrived) == ["p!"]
        one.arrived.clear()
        one.put_receipt("p!3", Outcome.LOST, 0)
        assert list(one.arrived) == ["p!"]

    def test_a_mailbox_is_told_of_once_for_all_that_has_come(self) -> None:
        one = store(watched=("a", "b"))
        for channel in ("a", "b", "a"):
            one.put(channel, message(), None, 0)
        assert list(one.arrived) == ["a", "b"]

    def test_the_receipt_of_an_expired_message_arrives(self) -> None:
        one = store(watched=("p!",))
        one.put("a", message(), "p!x", 0)
        one.expire(60)
        assert list(one.arrived) == ["p!"]
        assert one.take(["p!"], 1, 60)[0][2] == {"receipt": "expired"}

    def test_a_message_put_back_arrives_again(self) -> None:
        one = store(watched=("a",))
        one.put("a", message(), None, 0)
        (parcel,) = one.take(["a"], 1, 0)
        one.arrived.clear()
        one.put_back(parcel)
        assert list(one.arrived) == ["a"]


class TestBounds:
    def test_empty_mailboxes_are_kept_up_to_a_bound(self) -> None:
        one = store()
        for number in range(5 * MAX_IDLE):
            one.put(f"single?{number}", message(), None, 0)
            take(one, f"single?{number}")
        assert len(one) == MAX_IDLE

    def test_the_statistics_of_a_busy_channel_outlive_many_others(self) -> None:
        one = store()
        for number in range(3 * MAX_IDLE):
            one.put(f"single?{number}", message(), None, 0)
            one.put("busy", message(), None, 0)
            take(one, f"single?{number}")
            take(one, "busy")
        assert one.counts("busy", 0)["messages_count"] == 3 * MAX_IDLE

    def test_a_mailbox_with_messages_is_never_forgotten(self) -> None:
        one = store()
        one.put("kept", message(), None, 0)
        for number in range(2 * MAX_IDLE):
            one.put(f"single?{number}", message(), None, 0)
            take(one, f"single?{number}")
        assert take(one, "kept") == ["kept"]

    def test_short_lived_channels_leave_no_trail_of_deadlines(self) -> None:
        one = store()
        for number in range(20_000):
            one.put(f"single?{number}", message(), None, 0)
            take(one, f"single?{number}")
        assert len(one._deadlines) < 4 * MAX_IDLE

    def test_memberships_that_come_and_go_leave_no_trail_of_deadlines(self) -> None:
        one = store()
        for number in range(20_000):
            one.add_member("g", f"p{number}!x", 0)
            one.discard_member("g", f"p{number}!x", 0)
        assert len(one._groups._deadlines) < 1000
        assert one._groups._groups == {}

    def test_one_by_one_reading_of_a_group_message_adds_no_deadlines(self) -> None:
        one = store()
        for number in range(1000):
            one.add_member("g", f"p!{number}", 0)
        one.put_group("g", message(), 0)
        got = {one.take_one(["p!"], 0)[0] for _ in range(1000)}  # type: ignore[index]
        assert len(got) == 1000
        assert one.take_one(["p!"], 0) is None
        assert len(one._deadlines) == 1

    def test_a_thousand_idle_channels_are_not_looked_at_until_they_are_due(self) -> None:
        one = store()
        for number in range(1000):
            one.put(f"channel{number}", message(), None, 0)
        one.put("late", message(), None, 30)
        looked: list[str] = []
        mailbox = type(one._mailboxes["late"])
        original = mailbox.first_deadline
        try:
            mailbox.first_deadline = lambda self: looked.append(self.name) or original(self)  # type: ignore[method-assign, func-returns-value]
            for _ in range(100):
                one.put("late", message(), None, 59)
                take(one, "late", now=59)
        finally:
            mailbox.first_deadline = original  # type: ignore[method-assign]
        assert looked == []


class TestDue:
    def test_an_empty_store_is_never_due(self) -> None:
        assert store().due == NEVER

    def test_it_is_due_when_its_oldest_message_or_membership_is(self) -> None:
        one = store()
        one.put("a", message(), None, 5)
        assert one.due == 65
        one.put("b", message(), None, 1)
        assert one.due == 61
        other = store()
        other.add_member("g", "a", 5)
        assert other.due == 3605

    def test_it_is_never_due_again_when_all_is_gone(self) -> None:
        one = store()
        one.put("a", message(), None, 0)
        one.add_member("g", "a", 0)
        take(one, "a")
        one.expire(60)
        assert one.due == 3600
        one.expire(3600)
        assert one.due == NEVER

    def test_a_message_put_back_expires_when_it_would_have(self) -> None:
        one = store()
        one.put("a", message(1), "r!x", 0)
        one.put("a", message(2), None, 20)
        (first,) = one.take(["a"], 1, 20)
        assert one.totals(20)["messages_pending"] == 1
        one.put_back(first)
        assert one.due == 60
        one.expire(60)
        assert [parcel[2]["number"] for parcel in one.take(["a"], 9, 60)] == [2]
        assert take(one, "r!", now=60) == ["r!x"]


class TestLimits:
    def test_a_message_over_the_limit_is_refused_before_a_full_channel_is(self) -> None:
        one = store(capacity=1)
        one.put("a", message(), None, 0)
        with pytest.raises(MessageTooLarge):
            one.put("a", SealedMessage({}, 1001), None, 0)
        with pytest.raises(ChannelFull):
            one.put("a", message(), None, 0)

    def test_clear_forgets_everything(self) -> None:
        one = store()
        one.put("a", message(), None, 0)
        one.add_member("g", "a", 0)
        one.clear()
        assert (one.due, len(one), one.members("g", 0)) == (NEVER, 0, [])
        assert set(one.totals(0).values()) == {0}
        one.put("a", message(), None, 1)
        assert one.due == 61


OPERATIONS: dict[str, Callable[[Store], object]] = {
    "put": lambda one: one.put("b", message(), None, 60),
    "put_group": lambda one: one.put_group("h", message(), 60),
    "put_receipt": lambda one: one.put_receipt("s!1", Outcome.LOST, 60),
    "take": lambda one: one.take(["b"], 1, 60),
    "take_one": lambda one: one.take_one(["b"], 60),
    "settle": lambda one: one.settle((9, ("b",), seal({}), "s!1"), Outcome.LOST, 60),
    "add_member": lambda one: one.add_member("h", "b", 60),
    "discard_member": lambda one: one.discard_member("h", "b", 60),
    "forget": lambda one: one.forget("b", 60),
    "members": lambda one: one.members("h", 60),
    "totals": lambda one: one.totals(60),
    "counts": lambda one: one.counts("b", 60),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_drops_what_is_due_first(operation: str) -> None:
    one = Store(60.0, 60.0, Capacities(), 1000, ["r!"])
    one.put("a", message(), "r!1", 0)
    one.add_member("g", "a", 0)
    OPERATIONS[operation](one)
    assert list(one.arrived) == ["r!"]
    assert one._mailboxes["a"].expired == 1
    assert list(one._groups.gatherings("g")) == []
