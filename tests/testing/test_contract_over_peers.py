"""The contract suite catches layers that span processes and break one promise there."""

from __future__ import annotations

import gc
import unittest
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chanserv.layers import MemoryChannelLayer
from chanserv.messages import Delivery, Outcome
from chanserv.testing import ChannelLayerContract
from tests.testing.peer_layers import PeerLayer


class BrokenPeer(PeerLayer):
    """A layer among others that breaks the promises in C{breaks}."""

    breaks: ClassVar[set[str]] = set()

    def peer(self) -> PeerLayer:
        return type(self)(self.original, self.members)


class LosesInSilence(BrokenPeer):
    breaks = {
        "test_what_a_dead_reader_had_not_settled_is_lost",
        "test_what_a_closed_reader_had_not_settled_is_lost",
        "test_what_a_dead_reader_had_not_settled_is_redelivered_first",
        "test_what_a_closed_reader_had_not_settled_is_redelivered_first",
        "test_a_waiting_peer_gets_what_a_dead_reader_had_not_settled",
        "test_a_waiting_peer_gets_what_a_closed_reader_had_not_settled",
    }

    def close(self) -> Deferred[None]:
        self.leased.clear()
        return super().close()


class RedeliversInDisorder(BrokenPeer):
    breaks = {
        "test_what_a_dead_reader_had_not_settled_is_redelivered_first",
        "test_what_a_closed_reader_had_not_settled_is_redelivered_first",
    }

    def close(self) -> Deferred[None]:
        self.leased = dict(reversed(self.leased.items()))
        return super().close()


class TakesBackWhatWasSettled(BrokenPeer):
    breaks = {"test_what_a_dead_reader_had_not_settled_is_redelivered_first"}

    def settle(self, ours: Delivery, outcome: Outcome) -> None:
        return None


class SettlesForTheDead(BrokenPeer):
    breaks = {"test_what_a_dead_reader_had_not_settled_is_lost"}

    def lease(self, deliveries: list[Delivery]) -> list[Delivery]:
        leased = super().lease(deliveries)
        for one in leased:
            one._settler = lambda outcome: self.original.send(
                "process!x", {"receipt": outcome.value}
            )
        return leased


class KeepsTheMembersOfTheDead(BrokenPeer):
    breaks = {
        "test_memberships_end_when_the_owner_of_their_mailbox_closes",
        "test_memberships_end_when_the_owner_of_their_mailbox_dies",
    }

    def close(self) -> Deferred[None]:
        self.owned.clear()
        return super().close()


class TakesItsMembersAlong(BrokenPeer):
    breaks = {"test_memberships_outlive_the_peer_that_added_them"}

    def group_add(self, group: str, channel: str) -> Deferred[None]:
        self.owned.add(channel.partition("!")[0] + "!")
        return super().group_add(group, channel)


class WaitsOnWhenDead(BrokenPeer):
    breaks = {
        "test_a_closed_reader_that_waited_takes_nothing_with_it",
        "test_a_dead_reader_that_waited_takes_nothing_with_it",
    }

    def close(self) -> Deferred[None]:
        self.waiting.clear()
        return super().close()


class SettlesBeforeItReplies(BrokenPeer):
    breaks = {"test_a_receipt_follows_the_replies_of_its_batch_to_another_peer"}

    def send_batch(self, operations: Any, settled: Sequence[Delivery] = ()) -> Deferred[Any]:
        for one in settled:
            one.settle()
        return super().send_batch(operations)


class FlushesItsOwn(BrokenPeer):
    breaks = {"test_a_flush_is_seen_by_all_peers"}

    def flush(self) -> Deferred[None]:
        return succeed(None)


class SendsToItself(BrokenPeer):
    breaks = {
        "test_what_one_peer_sends_another_reads_in_order",
        "test_a_peer_that_waits_gets_what_another_sends",
        "test_a_channel_is_full_for_all_peers",
        "test_all_peers_list_the_same_members",
        "test_all_peers_see_the_same_counts",
    }

    def peer(self) -> PeerLayer:
        return type(self)(MemoryChannelLayer(clock=Clock()))


def outcome_of(broken: type[BrokenPeer], test: str) -> unittest.TestResult:
    """Run one test of the suite on such layers."""

    class Trial(ChannelLayerContract, TestCase):
        quiet = 0.0
        # Whoever keeps the promise is given time, on a machine however busy.
        patience = timeout = 30.0 if broken is BrokenPeer else 0.5

        def make_layer(self, **config: Any) -> Any:
            return broken(MemoryChannelLayer(clock=Clock(), **config))

        def make_peer(self, layer: Any) -> Any:
            return layer.peer()

        def kill_peer(self, peer: Any) -> None:
            peer.close()

    result = unittest.TestResult()
    Trial(test).run(result)
    # What a broken layer leaves behind is none of the next test's.
    gc.collect()
    assert result.testsRun == 1
    assert not result.skipped
    return result


@pytest.mark.parametrize(
    ("broken", "test"),
    [(broken, test) for broken in BrokenPeer.__subclasses__() for test in sorted(broken.breaks)],
)
def test_peers_that_break_a_promise_fail_the_test_named_for_it(
    broken: type[BrokenPeer], test: str
) -> None:
    assert not outcome_of(broken, test).wasSuccessful()


PROMISES = sorted({one for broken in BrokenPeer.__subclasses__() for one in broken.breaks})


@pytest.mark.parametrize("test", PROMISES)
def test_peers_that_keep_the_promise_pass_that_test(test: str) -> None:
    result = outcome_of(BrokenPeer, test)
    assert result.wasSuccessful(), result.errors + result.failures
