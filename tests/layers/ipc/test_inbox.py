"""What an inbox makes of messages that came for receives which were cancelled."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chanserv.codec import Codec
from chanserv.core.mirror import Change
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.inbox import Inbox

BODY = Codec().encode({"number": 1})
UNTIL = 1_000.0


class GroupsAndCancelledReceives(SynchronousTestCase):
    """A group's message is for those who were members when it was sent."""

    def setUp(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.answers: list[tuple[int, Deferred[Any]]] = []
        self.inbox = Inbox(Clock(), Codec(), self.tell, succeed, lambda channel: None, lambda: None)
        self.inbox.hub_found(0.0)
        self.inbox.change("p!", wire.RESET, [Change(1, "group", "p!stays", UNTIL)])
        self.inbox.change("p!", 0, [Change(2, "group", "p!goes", UNTIL)])

    def tell(self, operation: Any, weight: int = 0, answer: Deferred[Any] | None = None) -> None:
        self.told.append(operation)
        if answer is not None:
            self.answers.append((operation[0], answer))

    def receive(self) -> tuple[int, Deferred[Any]]:
        """A receive that waits: its number, and its Deferred."""
        waiting = self.inbox.receive(("p!",), 10)
        return self.told[-1][1], waiting

    def sent_to_group(self) -> wire.Item:
        """A message that was sent to the group when both were members."""
        return wire.Item(UNTIL, ("p!", "group", 2), BODY, 0)  # type: ignore[arg-type]

    def one_goes(self) -> None:
        """A member leaves, and nothing older than that is at the hub."""
        self.inbox.change("p!", wire.DRAINED, [Change(3, "group", "p!goes", 0.0)])

    def cancel(self, waiting: Deferred[Any]) -> None:
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)

    def recipients(self, waiting: Deferred[Any]) -> set[str]:
        (delivery,) = self.successResultOf(waiting)
        return set(delivery.recipients)

    def test_a_message_that_is_kept_finds_the_members_of_its_time(self) -> None:
        number, waiting = self.receive()
        self.cancel(waiting)
        self.inbox.deliver(number, 0.0, [self.sent_to_group()])
        self.one_goes()
        self.assertEqual(self.recipients(self.inbox.receive(("p!",), 10)), {"p!stays", "p!goes"})

    def test_a_message_on_its_way_back_finds_the_members_of_its_time(self) -> None:
        number, waiting = self.receive()
        self.cancel(waiting)
        self.inbox.deliver(number, 0.0, [self.sent_to_group()])
        ((_, withdrawn),) = self.answers
        withdrawn.callback(None)
        kind, back = self.answers[-1]
        self.assertEqual(kind, wire.GIVE_BACK)
        self.one_goes()
        back.callback(None)
        number, waiting = self.receive()
        self.inbox.deliver(number, 0.0, [self.sent_to_group()])
        self.assertEqual(self.recipients(waiting), {"p!stays", "p!goes"})

    def test_changes_count_at_once_where_nothing_older_is_about(self) -> None:
        number, waiting = self.receive()
        self.one_goes()
        self.assertEqual(self.inbox.memberships()["p!"], [("group", "p!stays", UNTIL)])
        self.inbox.deliver(number, 0.0, [self.sent_to_group()])
        self.assertEqual(self.recipients(waiting), {"p!stays"})

    def test_a_new_hub_owes_nothing_of_what_was_on_its_way_back(self) -> None:
        number, waiting = self.receive()
        self.cancel(waiting)
        self.inbox.deliver(number, 0.0, [self.sent_to_group()])
        self.answers[0][1].callback(None)
        self.inbox.hub_lost()
        self.inbox.hub_found(0.0)
        self.one_goes()
        number, waiting = self.receive()
        self.inbox.deliver(number, 0.0, [self.sent_to_group()])
        self.assertEqual(self.recipients(waiting), {"p!stays"})
