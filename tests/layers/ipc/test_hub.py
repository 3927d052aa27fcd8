"""The hub's rules, with processes that only write down what they are told."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from chanserv.core.mirror import Change
from chanserv.layers.ipc import hub as hub_module
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.hub import Hub
from chanserv.layers.ipc.options import HubOptions
from chanserv.layers.ipc.sessions import Session


class Told:
    """A process."""

    def __init__(self, hub: Hub, name: str = "process", is_host: bool = False) -> None:
        self.hub = hub
        self.got: list[tuple[int, list[wire.Item]]] = []
        self.changes: list[tuple[str, int, list[Change]]] = []
        self.rosters: list[int] = []
        self.loads: list[int] = []
        self.flushes = 0
        self.session: Session = hub.join(self, name, is_host)

    def deliver(self, number: int, now: float, items: list[wire.Item]) -> None:
        self.got.append((number, items))

    def change(self, mailbox: str, flags: int, changes: list[Change]) -> None:
        self.changes.append((mailbox, flags, changes))

    def roster(self, count: int) -> None:
        self.rosters.append(count)

    def load(self, count: int) -> None:
        self.loads.append(count)

    def flushed(self) -> None:
        self.flushes += 1

    def do(self, *operation: Any) -> Any:
        """Have one operation performed; return its result, None for done."""
        results = self.hub.perform(self.session, [operation])
        self.hub.attend()
        return results[0][1] if results else None

    def send(self, channel: str, data: bytes = b"x", receipt: str | None = None) -> Any:
        return self.do(wire.SEND, channel, len(data), data, receipt)

    def receive(self, number: int, *channels: str, limit: int = 100) -> None:
        self.do(wire.RECEIVE, number, channels, limit)

    def bodies(self) -> list[bytes]:
        """What has come, in its order; and forget it."""
        got, self.got = self.got, []
        return [item.body for _, items in got for item in items]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_hub(clock: Clock, expected: int = 0, waited: int = 0, **config: Any) -> Hub:
    given: dict[str, Any] = {
        "expiry": 60.0,
        "group_expiry": 600.0,
        "capacity": 100,
        "mailbox_capacity": 1000,
        "max_message_size": 4_000_000,
        "channel_capacity": None,
        "redeliver": None,
    }
    return Hub(HubOptions.checked(**{**given, **config}), clock, expected, waited)


@pytest.fixture
def hub(clock: Clock) -> Hub:
    return make_hub(clock)


class TestReceiving:
    def test_who_asked_first_is_served_first(self, hub: Hub) -> None:
        one, other = Told(hub), Told(hub)
        one.receive(1, "channel")
        other.receive(1, "channel")
        for data in (b"1", b"2", b"3"):
            one.send("channel", data)
        assert (one.bodies(), other.bodies()) == ([b"1"], [b"2"])

    def test_a_receive_is_served_once(self, hub: Hub) -> None:
        one = Told(hub)
        one.receive(7, "channel", "other")
        one.send("channel", b"1")
        one.send("other", b"2")
        assert [number for number, _ in one.got] == [7]

    def test_a_cancelled_receive_gets_nothing(self, hub: Hub) -> None:
        one, other = Told(hub), Told(hub)
        one.receive(1, "channel")
        one.do(wire.CANCEL, 1)
        one.do(wire.CANCEL, 1)
        other.receive(1, "channel")
        one.send("channel", b"1")
        assert (one.bodies(), other.bodies()) == ([], [b"1"])

    def test_a_look_does_not_wait(self, hub: Hub) -> None:
        one = Told(hub)
        one.do(wire.RECEIVE_NOW, 1, ("channel",), 10)
        one.send("channel", b"1")
        assert one.got == []
        one.do(wire.RECEIVE_NOW, 2, ("channel",), 10)
        assert one.bodies() == [b"1"]

    def test_a_receive_gets_a_megabyte_at_once_and_one_message_more(self, hub: Hub) -> None:
        one = Told(hub)
        for _ in range(20):
            one.send("channel", b"x" * 300_000)
        one.receive(1, "channel")
        got = len(one.bodies())
        assert 2 <= got <= 5
        total = got
        number = 2
        while total < 20:
            one.receive(number, "channel")
            number += 1
            total += len(one.bodies())
        assert total == 20

    def test_small_messages_come_as_many_at_once_as_are_asked_for(self, hub: Hub) -> None:
        one = Told(hub)
        for number in range(100):
            one.send("channel", b"%d" % number)
        one.receive(1, "channel", limit=70)
        assert one.bodies() == [b"%d" % number for number in range(70)]

    def test_what_is_given_back_comes_first_again(self, hub: Hub) -> None:
        one = Told(hub)
        for data in (b"1", b"2", b"3"):
            one.send("channel", data, "reply!x" if data == b"2" else None)
        one.receive(1, "channel", limit=2)
        ((_, items),) = one.got
        one.got.clear()
        for item in reversed(items):
            one.do(wire.GIVE_BACK, item)
        one.receive(2, "channel")
        assert one.bodies() == [b"1", b"2", b"3"]

    def test_what_is_given_back_reaches_who_waits(self, hub: Hub) -> None:
        one, other = Told(hub), Told(hub)
        one.send("channel", b"1")
        one.receive(1, "channel")
        ((_, items),) = one.got
        other.receive(1, "channel")
        one.do(wire.GIVE_BACK, items[0])
        assert other.bodies() == [b"1"]


class TestAProcessThatDoesNotRead:
    def test_news_for_all_do_not_pile_up_for_it(self, hub: Hub, clock: Clock) -> None:
        stopped = Told(hub)
        hub.pause(stopped.session)
        for number in range(5):
            other = Told(hub)
            other.send("channel")
            other.receive(1, f"box{number}!")
            clock.advance(hub_module.LOAD_INTERVAL)
        assert (stopped.loads, stopped.rosters) == ([], [0])
        hub.resume(stopped.session)
        assert (stopped.loads, stopped.rosters) == ([5], [0, 5])
        assert Told(hub).loads == [5]

    def test_it_is_passed_over(self, hub: Hub) -> None:
        stopped, other = Told(hub), Told(hub)
        stopped.receive(1, "channel")
        hub.pause(stopped.session)
        stopped.receive(2, "channel")
        other.receive(1, "channel")
        stopped.send("channel", b"1")
        assert (stopped.got, other.bodies()) == ([], [b"1"])

    def test_it_gets_what_has_come_when_it_reads_again(self, hub: Hub) -> None:
        stopped = Told(hub)
        stopped.receive(1, "channel")
        hub.pause(stopped.session)
        hub.pause(stopped.session)
        stopped.send("channel", b"1")
        assert stopped.got == []
        hub.resume(stopped.session)
        hub.resume(stopped.session)
        hub.attend()
        assert stopped.bodies() == [b"1"]

    def test_it_may_withdraw_what_it_asked_for(self, hub: Hub) -> None:
        stopped = Told(hub)
        stopped.receive(1, "channel")
        hub.pause(stopped.session)
        stopped.do(wire.CANCEL, 1)
        hub.resume(stopped.session)
        stopped.send("channel", b"1")
        assert stopped.got == []

    def test_it_is_told_of_members_when_it_reads_again(self, hub: Hub) -> None:
        stopped, other = Told(hub), Told(hub)
        stopped.receive(1, "a!")
        stopped.changes.clear()
        hub.pause(stopped.session)
        other.do(wire.GROUP_ADD, "group", "a!x")
        assert stopped.changes == []
        hub.resume(stopped.session)
        hub.attend()
        assert [one[:2] for one in stopped.changes] == [("a!", wire.DRAINED)]

    def test_it_can_still_die(self, hub: Hub) -> None:
        stopped, other = Told(hub), Told(hub)
        stopped.receive(1, "channel")
        hub.pause(stopped.session)
        hub.leave(stopped.session)
        hub.resume(stopped.session)
        other.send("channel", b"1")
        assert stopped.got == []


class TestTheEndOfAProcess:
    def test_what_it_had_on_lease_is_lost_once(self, hub: Hub) -> None:
        one, other = Told(hub), Told(hub)
        other.receive(1, "reply!")
        for number in range(2):
            other.send("channel", b"x", f"reply!{number}")
        one.receive(1, "channel")
        assert hub.leave(one.session) == 2
        assert hub.leave(one.session) == 0
        hub.attend()
        ((_, items),) = other.got
        assert [item.recipients for item in items] == [("reply!0",), ("reply!1",)]
        assert other.do(wire.TOTALS)[1]["messages_lost_count"] == 2

    def test_what_is_redelivered_is_not_lost(self, clock: Clock) -> None:
        hub = make_hub(clock, redeliver=["channel"])
        one, other = Told(hub), Told(hub)
        for data in (b"1", b"2", b"3"):
            other.send("channel", data)
        one.receive(1, "channel", limit=2)
        assert hub.leave(one.session) == 0
        other.receive(1, "channel")
        assert other.bodies() == [b"1", b"2", b"3"]

    def test_nobody_settles_for_another(self, hub: Hub) -> None:
        one, other = Told(hub), Told(hub)
        one.send("channel", b"x", "reply!x")
        one.receive(1, "channel")
        lease = one.got[0][1][0].lease
        other.do(wire.SETTLE, [(lease, 0)])
        assert other.do(wire.COUNTS, "reply!")[1]["messages_pending"] == 0
        one.do(wire.SETTLE, [(lease, 0)])
        one.do(wire.SETTLE, [(lease, 0)])
        assert other.do(wire.COUNTS, "reply!")[1]["messages_pending"] == 1

    def test_its_mailbox_goes_to_another_that_waits_for_it(self, hub: Hub) -> None:
        one, heir = Told(hub), Told(hub)
        heir.receive(1, "a!")
        one.receive(1, "a!")
        one.do(wire.GROUP_ADD, "group", "a!x")
        hub.leave(one.session)
        hub.attend()
        assert heir.do(wire.GROUP_CHANNELS, "group")[1] == ["a!x"]
        mailbox, flags, changes = heir.changes[-1]
        assert (mailbox, flags, [one[2] for one in changes]) == ("a!", wire.RESET, ["a!x"])


class TestOwners:
    def test_the_first_owner_is_told_of_all_changes_since_the_beginning(self, hub: Hub) -> None:
        owner, other = Told(hub), Told(hub)
        other.do(wire.GROUP_ADD, "group", "a!x")
        other.do(wire.GROUP_DISCARD, "group", "a!x")
        owner.receive(1, "a!")
        changes = [change for _, _, changes in owner.changes for change in changes]
        assert [(one.number, one.channel) for one in changes] == [(1, "a!x"), (2, "a!x")]

    def test_an_owner_is_told_of_changes_as_they_come(self, hub: Hub) -> None:
        owner, other = Told(hub), Told(hub)
        owner.receive(1, "a!")
        owner.changes.clear()
        other.do(wire.GROUP_ADD, "group", "a!x")
        ((mailbox, flags, changes),) = owner.changes
        assert (mailbox, flags) == ("a!", wire.DRAINED)
        assert [change.channel for change in changes] == ["a!x"]

    def test_an_owner_is_told_before_the_message_that_came_after(self, hub: Hub) -> None:
        order: list[str] = []

        class Ordered(Told):
            def deliver(self, number: int, now: float, items: list[wire.Item]) -> None:
                order.append("message")

            def change(self, mailbox: str, flags: int, changes: list[Change]) -> None:
                order.extend(change.channel for change in changes)

        owner, other = Ordered(hub), Told(hub)
        owner.receive(1, "a!")
        hub.perform(
            other.session,
            [(wire.GROUP_ADD, "group", "a!x"), (wire.SEND_GROUP, "group", 1, b"x")],
        )
        hub.attend()
        assert order == ["a!x", "message"]

    def test_a_former_owner_is_told_that_it_no_longer_is(self, hub: Hub) -> None:
        one, other = Told(hub), Told(hub)
        one.receive(1, "a!")
        one.do(wire.CANCEL, 1)
        one.do(wire.GROUP_ADD, "group", "a!x")
        other.receive(1, "a!")
        assert one.changes[-1] == ("a!", wire.GONE, [])
        assert [change.channel for change in other.changes[0][2]] == ["a!x"]
        hub.leave(one.session)
        assert other.do(wire.GROUP_CHANNELS, "group")[1] == ["a!x"]

    def test_a_flush_makes_owners_forget(self, hub: Hub) -> None:
        owner, other = Told(hub), Told(hub)
        owner.receive(1, "a!")
        other.do(wire.GROUP_ADD, "group", "a!x")
        other.do(wire.FLUSH)
        assert owner.changes[-1] == ("a!", wire.RESET, [])
        assert (owner.flushes, other.flushes) == (1, 1)

    def test_all_are_told_how_many_guests_own_mailboxes(self, hub: Hub) -> None:
        host = Told(hub, is_host=True)
        one, other = Told(hub), Told(hub)
        host.receive(1, "host!")
        one.receive(1, "a!", "b!")
        other.receive(1, "c!")
        assert one.rosters[-1] == other.rosters[-1] == 2
        hub.leave(other.session)
        hub.attend()
        assert one.rosters[-1] == 1
        assert Told(hub).rosters == [1]


class TestSuccession:
    def test_a_hub_that_follows_none_is_open(self, hub: Hub) -> None:
        assert hub.is_open

    def test_it_opens_when_all_have_put_back_what_they_know(self, clock: Clock) -> None:
        hub = make_hub(clock, expected=2)
        opened: list[bool] = []
        hub.when_open(lambda: opened.append(hub.is_open))
        host, one, other, without = Told(hub, is_host=True), Told(hub), Told(hub), Told(hub)
        host.do(wire.PUT_BACK, {"host!": []}, [], 0)
        one.do(wire.PUT_BACK, {"a!": [("group", "a!x", 30.0)]}, [], 0)
        without.do(wire.PUT_BACK, {}, [], 0)
        assert not hub.is_open
        other.do(wire.PUT_BACK, {"b!": [("group", "b!x", 30.0)]}, [], 0)
        assert opened == [True]
        assert set(one.do(wire.GROUP_CHANNELS, "group")[1]) == {"a!x", "b!x"}

    def test_it_opens_when_it_is_told_to(self, clock: Clock) -> None:
        hub = make_hub(clock, expected=2)
        opened: list[bool] = []
        hub.when_open(lambda: opened.append(True))
        hub.open()
        hub.open()
        assert opened == [True]

    def test_it_gives_the_receipts_that_the_last_one_owed(self, hub: Hub) -> None:
        one = Told(hub)
        one.do(wire.PUT_BACK, {"a!": []}, ["a!x", "a!x", "a!y"], 3)
        one.receive(1, "a!")
        ((_, items),) = one.got
        assert [item.recipients for item in items] == [("a!x",), ("a!x",), ("a!y",)]
        assert one.do(wire.TOTALS)[1]["messages_lost_count"] == 3

    @pytest.mark.parametrize(
        ("waited", "reported", "lost"),
        [(0, [], 0), (5, [], 5), (5, [2, 1], 5), (5, [2, 4], 6), (0, [2, 4], 6)],
    )
    def test_it_counts_what_waited_and_what_is_reported_beyond_that(
        self, clock: Clock, waited: int, reported: list[int], lost: int
    ) -> None:
        hub = make_hub(clock, waited=waited)
        for number in reported:
            Told(hub).do(wire.PUT_BACK, {}, [], number)
        assert Told(hub).do(wire.TOTALS)[1]["messages_lost_count"] == lost


class TestTime:
    def test_all_are_told_now_and_then_how_much_waits(self, hub: Hub, clock: Clock) -> None:
        one, other = Told(hub), Told(hub)
        for _ in range(3):
            one.send("channel", b"x", "reply!x")
        one.receive(1, "channel", limit=1)
        assert one.loads == other.loads == []
        clock.advance(hub_module.LOAD_INTERVAL)
        assert one.loads == other.loads == [3]
        clock.advance(hub_module.LOAD_INTERVAL)
        one.receive(2, "channel", limit=1)
        assert one.loads == [3]
        one.do(wire.SETTLE, [(one.got[0][1][0].lease, 2)])
        one.do(wire.RECEIVE_NOW, 3, ("reply!",), 1)
        clock.advance(hub_module.LOAD_INTERVAL)
        assert one.loads == other.loads == [3, 2]

    def test_a_receipt_of_what_expires_comes_by_itself(self, hub: Hub, clock: Clock) -> None:
        one = Told(hub)
        one.receive(1, "reply!")
        one.send("channel", b"x", "reply!x")
        clock.advance(61)
        assert len(one.got) == 1

    def test_a_closed_hub_leaves_no_timer(self, hub: Hub, clock: Clock) -> None:
        one = Told(hub)
        one.send("channel")
        assert clock.getDelayedCalls()
        hub.close()
        assert clock.getDelayedCalls() == []
        hub.attend()

    def test_readers_within_the_host_that_answer_each_other_let_others_go_on(
        self, hub: Hub, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub_module, "SERVED_AT_ONCE", 10)
        turns = 0

        class Echo(Told):
            def deliver(self, number: int, now: float, items: list[wire.Item]) -> None:
                nonlocal turns
                turns += 1
                if turns < 25:
                    self.receive(number + 1, "channel")
                    self.send("channel")

        echo = Echo(hub)
        echo.receive(1, "channel")
        echo.send("channel")
        assert 1 <= turns <= 11
        clock.advance(0)
        assert turns == 25
