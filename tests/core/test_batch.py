from __future__ import annotations

from typing import Any

from chanserv.core.batch import attempt_all
from chanserv.errors import ChannelFull, InvalidChannelName
from chanserv.messages import Forget, GroupSend, Operation, Send

FULL = ChannelFull("full!", 1, 1, 0.0)


class Store:
    """Refuses what it is told to, each operation once."""

    def __init__(self, **refused: Any) -> None:
        self.refused = refused
        self.done: list[str] = []

    def attempt(self, operation: Operation) -> Any:
        name = operation.group if isinstance(operation, GroupSend) else operation.channel
        self.done.append(name)
        return self.refused.pop(str(name).replace("!", "_"), None)


def test_each_operation_is_done_in_its_order() -> None:
    store = Store()
    operations = [Send("a", {}), GroupSend("g", {}), Forget("b!x"), Send("a", {})]
    assert attempt_all(operations, store.attempt) == [None] * 4
    assert store.done == ["a", "g", "b!x", "a"]


def test_an_operation_that_fails_does_not_keep_the_others_back() -> None:
    bad = InvalidChannelName("bad")
    store = Store(a=bad)
    assert attempt_all([Send("a", {}), Send("a", {})], store.attempt) == [bad, None]


def test_once_a_channel_was_full_the_batch_sends_no_more_there() -> None:
    store = Store(full_x=FULL)
    operations = [Send("full!a", {}), Send("full!x", {}), Send("other", {}), Send("full!a", {})]
    assert attempt_all(operations, store.attempt) == [None, FULL, None, FULL]
    assert store.done == ["full!a", "full!x", "other"]


def test_groups_and_memberships_do_not_mind_a_full_channel() -> None:
    store = Store(full_x=FULL)
    operations = [Send("full!x", {}), GroupSend("full", {}), Forget("full!x")]
    assert attempt_all(operations, store.attempt) == [FULL, None, None]


def test_the_next_batch_may_find_room() -> None:
    store = Store(full_x=FULL)
    assert attempt_all([Send("full!x", {})], store.attempt) == [FULL]
    assert attempt_all([Send("full!x", {})], store.attempt) == [None]


def test_what_is_no_operation_is_for_the_attempt_to_say() -> None:
    store = Store(full_x=FULL)
    odd: Any = Send(None, {})  # type: ignore[arg-type]
    assert attempt_all([Send("full!x", {}), odd], store.attempt) == [FULL, None]
