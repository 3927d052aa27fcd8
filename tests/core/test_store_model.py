"""The store against a model of it that has no cleverness at all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chanserv.core.capacity import Capacities
from chanserv.core.deadlines import NEVER
from chanserv.core.mailbox import Parcel
from chanserv.core.store import Store
from chanserv.errors import ChannelFull
from chanserv.messages import Outcome, SealedMessage, seal
from chanserv.names import mailbox_of

EXPIRY = 10
GROUP_EXPIRY = 25
CAPACITY = 3
MAILBOX_CAPACITY = 4

CHANNELS = ["one", "two", "single?x", "a!1", "a!2", "a!3", "b!1", "b!2"]
MAILBOXES = ["one", "two", "single?x", "a!", "b!"]
RECEIPTS = [None, None, "r!1", "r!2"]
GROUPS = ["g", "h"]


@dataclass
class Waiting:
    deadline: float
    recipients: tuple[str, ...]
    number: int
    receipt: str | None


@dataclass
class Counts:
    received: int = 0
    refused: int = 0
    expired: int = 0
    lost: int = 0


@dataclass
class Model:
    waiting: dict[str, list[Waiting]] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)
    groups: dict[str, dict[str, float]] = field(default_factory=dict)

    def of(self, mailbox: str) -> list[Waiting]:
        return self.waiting.setdefault(mailbox, [])

    def count(self, mailbox: str) -> Counts:
        return self.counts.setdefault(mailbox, Counts())

    def members(self, group: str) -> dict[str, float]:
        return self.groups.setdefault(group, {})


class StoreKeepsToItsModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store(
            EXPIRY, GROUP_EXPIRY, Capacities(CAPACITY, MAILBOX_CAPACITY), 1000, MAILBOXES
        )
        self.model = Model()
        self.now = 100.0
        self.number = 0
        self.taken: list[Parcel] = []

    # What happens

    @rule(step=st.integers(1, 12))
    def time_passes(self, step: int) -> None:
        self.now += step

    @rule(channel=st.sampled_from(CHANNELS), receipt=st.sampled_from(RECEIPTS))
    def put(self, channel: str, receipt: str | None) -> None:
        self.expire()
        mailbox = mailbox_of(channel)
        waiting = self.model.of(mailbox)
        if len(waiting) < self.capacity(mailbox):
            self.store.put(channel, self.message(), receipt, self.now)
            self.arrive(mailbox, (channel,), receipt)
            return
        with pytest.raises(ChannelFull) as caught:
            self.store.put(channel, self.message(), receipt, self.now)
        assert caught.value.depth == len(waiting)
        assert caught.value.oldest == self.now - (waiting[0].deadline - EXPIRY)
        self.model.count(mailbox).refused += 1

    @rule(group=st.sampled_from(GROUPS))
    def put_group(self, group: str) -> None:
        self.expire()
        self.store.put_group(group, self.message(), self.now)
        gatherings: dict[str, list[str]] = {}
        for channel in self.model.members(group):
            gatherings.setdefault(mailbox_of(channel), []).append(channel)
        for mailbox, channels in gatherings.items():
            if len(self.model.of(mailbox)) >= self.capacity(mailbox):
                self.model.count(mailbox).refused += 1
            else:
                self.arrive(mailbox, tuple(channels), None)

    @rule(mailboxes=st.sets(st.sampled_from(MAILBOXES), min_size=1), limit=st.integers(1, 5))
    def take(self, mailboxes: set[str], limit: int) -> None:
        self.expire()
        there = sum(len(self.model.of(mailbox)) for mailbox in mailboxes)
        parcels = self.store.take(list(mailboxes), limit, self.now)
        assert len(parcels) == min(limit, there)
        for parcel in parcels:
            self.left(parcel)
        self.taken = parcels

    @rule(mailbox=st.sampled_from(MAILBOXES))
    def take_one(self, mailbox: str) -> None:
        self.expire()
        found = self.store.take_one([mailbox], self.now)
        waiting = self.model.of(mailbox)
        assert (found is None) == (not waiting)
        if found is not None:
            first = waiting[0]
            channel, (_, _, message, _) = found
            assert message["number"] == first.number
            assert channel in first.recipients
            first.recipients = tuple(one for one in first.recipients if one != channel)
            if not first.recipients:
                waiting.pop(0)

    @precondition(lambda self: self.taken)
    @rule()
    def put_back(self) -> None:
        parcel = self.taken.pop()
        self.store.put_back(parcel)
        deadline, recipients, message, receipt = parcel
        self.model.of(mailbox_of(recipients[0])).insert(
            0, Waiting(deadline, recipients, message["number"], receipt)
        )

    @rule(mailbox=st.sampled_from(MAILBOXES), outcome=st.sampled_from(Outcome))
    def settle(self, mailbox: str, outcome: Outcome) -> None:
        self.expire()
        kept = self.store.exists(mailbox)
        parcel = (self.now, (mailbox,), seal({}), "r!9")
        self.store.settle(parcel, outcome, self.now)
        if outcome is Outcome.LOST and kept:
            self.model.count(mailbox).lost += 1
        self.receipt("r!9")

    @rule(group=st.sampled_from(GROUPS), channel=st.sampled_from(CHANNELS))
    def add(self, group: str, channel: str) -> None:
        self.expire()
        self.store.add_member(group, channel, self.now)
        members = self.model.members(group)
        members.pop(channel, None)
        members[channel] = self.now + GROUP_EXPIRY

    @rule(group=st.sampled_from(GROUPS), channel=st.sampled_from(CHANNELS))
    def discard(self, group: str, channel: str) -> None:
        self.expire()
        self.store.discard_member(group, channel, self.now)
        self.model.members(group).pop(channel, None)

    @rule(channel=st.sampled_from(CHANNELS))
    def forget(self, channel: str) -> None:
        self.expire()
        self.store.forget(channel, self.now)
        for members in self.model.groups.values():
            members.pop(channel, None)

    @rule()
    def read_receipts(self) -> None:
        self.expire()
        got = self.store.take(["r!"], 1000, self.now)
        expected = self.model.of("r!")
        # Of messages that expired at one moment, any may be told of first.
        assert Counter(one[1] for one in got) == Counter(one.recipients for one in expected)
        expected.clear()

    # What holds

    @invariant()
    def members_are_the_models(self) -> None:
        for group in GROUPS:
            alive = [
                channel
                for channel, deadline in self.model.members(group).items()
                if deadline > self.now
            ]
            assert sorted(self.store.members(group, self.now)) == sorted(alive)
        self.expire()

    @invariant()
    def counts_are_the_models(self) -> None:
        self.expire()
        for mailbox in [*MAILBOXES, "r!"]:
            count, waiting = self.model.count(mailbox), self.model.of(mailbox)
            assert self.store.counts(mailbox, self.now) == {
                "messages_count": count.received,
                "channel_full_count": count.refused,
                "messages_expired_count": count.expired,
                "messages_lost_count": count.lost,
                "messages_pending": len(waiting),
                "messages_max_age": self.age(waiting),
            }
        totals = self.store.totals(self.now)
        every = list(self.model.counts.values())
        assert totals["messages_count"] == sum(one.received for one in every)
        assert totals["channel_full_count"] == sum(one.refused for one in every)
        assert totals["messages_expired_count"] == sum(one.expired for one in every)
        assert totals["messages_pending"] == sum(map(len, self.model.waiting.values()))
        assert totals["messages_max_age"] == max(map(self.age, self.model.waiting.values()))

    @invariant()
    def nothing_falls_due_unseen(self) -> None:
        deadlines = [one.deadline for waiting in self.model.waiting.values() for one in waiting]
        deadlines += [one for members in self.model.groups.values() for one in members.values()]
        assert self.store.due <= min(deadlines, default=NEVER)

    # The model's own rules

    def capacity(self, mailbox: str) -> int:
        return MAILBOX_CAPACITY if mailbox.endswith("!") else CAPACITY

    def message(self) -> SealedMessage:
        self.number += 1
        return SealedMessage({"number": self.number}, 14)

    def arrive(self, mailbox: str, recipients: tuple[str, ...], receipt: str | None) -> None:
        self.model.of(mailbox).append(Waiting(self.now + EXPIRY, recipients, self.number, receipt))
        self.model.count(mailbox).received += 1

    def receipt(self, channel: str) -> None:
        self.model.of("r!").append(Waiting(self.now + EXPIRY, (channel,), 0, None))
        self.model.count("r!").received += 1

    def left(self, parcel: Parcel) -> None:
        deadline, recipients, message, receipt = parcel
        first = self.model.of(mailbox_of(recipients[0])).pop(0)
        assert message["number"] == first.number
        assert set(recipients) == set(first.recipients)
        assert (deadline, receipt) == (first.deadline, first.receipt)

    def expire(self) -> None:
        due = []
        for mailbox, waiting in self.model.waiting.items():
            while waiting and waiting[0].deadline <= self.now:
                gone = waiting.pop(0)
                self.model.count(mailbox).expired += 1
                if gone.receipt is not None:
                    due.append(gone.receipt)
        for receipt in due:
            self.receipt(receipt)
        for group, members in self.model.groups.items():
            self.model.groups[group] = {
                channel: deadline for channel, deadline in members.items() if deadline > self.now
            }

    def age(self, waiting: list[Waiting]) -> int:
        return int(self.now - (waiting[0].deadline - EXPIRY)) if waiting else 0


TestStoreKeepsToItsModel = StoreKeepsToItsModel.TestCase
TestStoreKeepsToItsModel.settings = settings(stateful_step_count=40)
