"""The contract suite catches what it is there to catch: layers that break one promise."""

from __future__ import annotations

import gc
import unittest
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chanserv.errors import ChannelFull
from chanserv.interfaces import IChannelLayer
from chanserv.layers import MemoryChannelLayer
from chanserv.messages import Delivery, Forget, Message, SealedMessage, Send
from chanserv.names import mailbox_of
from chanserv.testing import ChannelLayerContract
from chanserv.testing.fakes import PlainLayer


class Broken(PlainLayer):
    """A memory layer that breaks the promises in C{breaks}."""

    breaks: ClassVar[set[str]] = set()
    config: ClassVar[dict[str, Any]] = {}


class DropsFields(Broken):
    breaks = {"test_every_type_of_the_spec_comes_out_as_it_went_in"}

    def send(self, channel: str, message: Any, receipt: str | None = None) -> Deferred[None]:
        if isinstance(message, dict):
            message = {key: value for key, value in message.items() if value is not None}
        return self.original.send(channel, message, receipt)


class SharesWithTheSender(Broken):
    breaks = {"test_what_was_sent_does_not_change_with_the_senders_dict"}

    def send(self, channel: str, message: Any, receipt: str | None = None) -> Deferred[None]:
        if isinstance(message, dict) and "list" in message:
            message = SealedMessage(message, 10)
        return self.original.send(channel, message, receipt)


class RaisesAtOnce(Broken):
    breaks = {"test_a_channel_name_outside_the_grammar_fails_every_call"}

    def send(self, channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        if not isinstance(channel, str) or " " in channel:
            raise ValueError(channel)
        return self.original.send(channel, message, receipt)


class LastInFirstOut(Broken):
    breaks = {
        "test_a_batch_keeps_its_order",
        "test_a_mailbox_gives_the_messages_of_all_its_local_parts_in_order",
    }

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        return self.original.receive(channels, limit).addCallback(lambda found: found[::-1])


class GivesOneOfEachOnly(Broken):
    breaks = {"test_a_busy_channel_does_not_starve_a_quiet_one"}

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        for channel in channels:
            first = self.original.receive([channel], limit)
            if first.called:
                return first
            first.addErrback(lambda failure: None)
            first.cancel()
        return self.original.receive(channels, limit)


class LosesWhenCancelled(Broken):
    breaks = {"test_a_cancelled_receive_takes_no_message_with_it"}

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        ours: Deferred[list[Delivery]] = Deferred()

        def pass_on(result: Any) -> None:
            if not ours.called:
                ours.callback(result)

        self.original.receive(channels, limit).addBoth(pass_on)
        return ours


class SendsToEachMember(Broken):
    breaks = {
        "test_a_group_message_reaches_a_process_once_for_all_its_members",
        "test_a_group_message_takes_the_room_of_one_in_a_mailbox",
    }

    def send_group(self, group: str, message: Message) -> Deferred[None]:
        def spread(channels: list[str]) -> None:
            for channel in channels:
                self.original.send(channel, message).addErrback(lambda failure: None)

        return self.original.group_channels(group).addCallback(spread)


class KeepsTheMembershipsOfTheGone(Broken):
    breaks = {
        "test_a_forgotten_channel_is_a_member_of_nothing",
        "test_a_batch_forgets_after_the_sends_before_it",
    }

    def send_batch(self, operations: Any, settled: Any = ()) -> Deferred[Any]:
        kept = [one for one in operations if not isinstance(one, Forget)]
        return self.original.send_batch(kept, settled).addCallback(
            lambda errors: [*errors, *[None] * (len(operations) - len(kept))]
        )


class AddsLate(Broken):
    breaks = {"test_a_group_message_sent_when_add_has_fired_reaches_the_new_member"}

    late: tuple[str, str] | None = None

    def group_add(self, group: str, channel: str) -> Deferred[None]:
        if self.late:
            self.original.group_add(*self.late)
        self.late = (group, channel)
        return succeed(None)


class NeverSettles(Broken):
    breaks = {
        "test_a_settled_message_gives_its_receipt",
        "test_an_expired_message_says_so",
        "test_a_message_given_up_as_lost_says_so_and_is_counted",
    }

    def send(self, channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        return self.original.send(channel, message)


class SettlesTooEarly(Broken):
    breaks = {"test_a_settled_message_gives_its_receipt"}

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        def settle(deliveries: list[Delivery]) -> list[Delivery]:
            for delivery in deliveries:
                delivery.settle()
            return deliveries

        return self.original.receive(channels, limit).addCallback(settle)


class ReceiptsNeedRoom(Broken):
    breaks = {"test_a_receipt_finds_room_on_a_full_channel"}

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        def full(deliveries: list[Delivery]) -> list[Delivery]:
            return [Delivery(one.recipients, one.message) for one in deliveries]

        return self.original.receive(channels, limit).addCallback(full)


class ForgetsTheAge(Broken):
    breaks = {"test_channel_full_names_channel_depth_capacity_and_the_oldest_age"}

    def send(self, channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        def age_less(failure: Any) -> Deferred[None]:
            failure.trap(ChannelFull)
            full = failure.value
            return fail(ChannelFull(full.channel, full.depth, full.capacity, 0.0))

        return self.original.send(channel, message, receipt).addErrback(age_less)


class KeepsTooLong(Broken):
    breaks = {
        "test_an_expired_message_is_read_by_nobody",
        "test_an_expired_message_gives_its_room_back",
        "test_expired_messages_are_counted",
    }
    config = {"expiry": 600}


class KeepsTooShort(Broken):
    breaks = {"test_a_message_is_read_until_it_expires"}
    config = {"expiry": 1}


class HoldsTooMuch(Broken):
    breaks = {"test_a_channel_holds_its_capacity_and_no_more"}
    config = {"capacity": 1000}


class FlushesHalf(Broken):
    breaks = {"test_flush_forgets_messages_groups_and_counts"}

    def flush(self) -> Deferred[None]:
        return succeed(None)


class StaysOpen(Broken):
    breaks = {"test_a_closed_layer_fails_every_call"}
    closing = False

    def close(self) -> Deferred[None]:
        # The test's own clean-up comes second.
        if self.closing:
            return self.original.close()
        self.closing = True
        return succeed(None)


class MixesUpTheBatch(Broken):
    breaks = {"test_a_full_channel_fails_its_part_of_a_batch_only"}

    def send_batch(self, operations: Any, settled: Any = ()) -> Deferred[Any]:
        sent = self.original.send_batch(operations, settled)
        return sent.addCallback(lambda errors: errors[::-1])


class NamesTheMailbox(Broken):
    breaks = {"test_a_delivery_names_the_channel_in_full"}

    def send(self, channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        name = mailbox_of(channel) if isinstance(channel, str) else channel
        return self.original.send(name, message, receipt)

    def send_batch(self, operations: Any, settled: Any = ()) -> Deferred[Any]:
        return self.original.send_batch(
            [
                Send(mailbox_of(one.channel), one.message, one.receipt)
                if isinstance(one, Send)
                else one
                for one in operations
            ],
            settled,
        )


def outcome_of(broken: type[Broken], test: str) -> unittest.TestResult:
    """Run one test of the suite on a layer."""

    class Trial(ChannelLayerContract, TestCase):
        quiet = 0.0
        # Whoever keeps the promise is given time, on a machine however busy.
        timeout = 30.0 if broken is Broken else 0.5

        def make_layer(self, **config: Any) -> IChannelLayer:
            self.clock = Clock()
            original = MemoryChannelLayer(clock=self.clock, **{**config, **broken.config})
            return broken(original)  # type: ignore[return-value]

        def advance(self, seconds: float) -> None:
            self.clock.advance(seconds)

    result = unittest.TestResult()
    Trial(test).run(result)
    # What a broken layer leaves behind is none of the next test's.
    gc.collect()
    assert result.testsRun == 1
    return result


@pytest.mark.parametrize(
    ("broken", "test"),
    [(broken, test) for broken in Broken.__subclasses__() for test in sorted(broken.breaks)],
)
def test_a_layer_that_breaks_a_promise_fails_the_test_named_for_it(
    broken: type[Broken], test: str
) -> None:
    assert not outcome_of(broken, test).wasSuccessful()


@pytest.mark.parametrize("test", sorted({one for b in Broken.__subclasses__() for one in b.breaks}))
def test_a_layer_that_keeps_the_promise_passes_that_test(test: str) -> None:
    result = outcome_of(Broken, test)
    assert result.wasSuccessful(), result.errors + result.failures
