"""Several layers on one memory store, each with leases and an end of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from chanserv.errors import LayerUnavailable
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Delivery, Forget, Outcome
from chanserv.names import mailbox_of
from chanserv.testing.fakes import FailingLayer


class PeerLayer(FailingLayer):
    """
    One process's view of a memory layer that stands in for a store outside.

    Closing it ends this view alone: what it has on lease is lost, and the
    memberships of the mailboxes that it has read end.
    """

    def __init__(self, original: IChannelLayer, members: set[str] | None = None) -> None:
        super().__init__(original)
        self.members: set[str] = set() if members is None else members
        self.leased: dict[Delivery, Delivery] = {}
        self.owned: set[str] = set()
        self.waiting: set[Deferred[Any]] = set()

    def peer(self) -> PeerLayer:
        return PeerLayer(self.original, self.members)

    def group_add(self, group: str, channel: str) -> Deferred[None]:
        if isinstance(channel, str):
            self.members.add(channel)
        return self.original.group_add(group, channel)

    def send_batch(self, operations: Any, settled: Sequence[Delivery] = ()) -> Deferred[Any]:
        originals = [self.leased.pop(one) for one in settled if one in self.leased]
        for one in settled:
            one.settle()
        return self.original.send_batch(operations, originals)

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        if not isinstance(channels, str):
            self.owned.update(one for one in channels if isinstance(one, str) and one[-1:] == "!")
        waiting = self.original.receive(channels, limit)
        ours: Deferred[list[Delivery]] = Deferred(lambda _: waiting.cancel())
        self.waiting.add(ours)

        def answered(result: Any) -> None:
            self.waiting.discard(ours)
            if isinstance(result, Failure) and result.check(CancelledError) and self.failure:
                result = Failure(self.failure)
            ours.callback(result if isinstance(result, Failure) else self.lease(result))

        waiting.addBoth(answered)
        return ours

    def lease(self, deliveries: list[Delivery]) -> list[Delivery]:
        leased = []
        for one in deliveries:
            ours = Delivery(one.recipients, one.message, lambda outcome: None)
            ours._settler = lambda outcome, ours=ours: self.settle(ours, outcome)
            self.leased[ours] = one
            leased.append(ours)
        return leased

    def settle(self, ours: Delivery, outcome: Outcome) -> None:
        original = self.leased.pop(ours, None)
        if original is not None:
            original.settle(outcome)

    def close(self) -> Deferred[None]:
        if self.failure is not None:
            return succeed(None)
        self.failure = LayerUnavailable("this view has been closed")
        for waiting in list(self.waiting):
            waiting.cancel()
        gone = [one for one in sorted(self.members) if mailbox_of(one) in self.owned]
        self.original.send_batch([Forget(channel) for channel in gone])
        # The last first: each goes to the front of its queue.
        for original in reversed(self.leased.values()):
            original.settle(Outcome.LOST)
        self.leased.clear()
        return succeed(None)
