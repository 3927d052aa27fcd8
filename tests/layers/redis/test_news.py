"""What owners of mailboxes hear of their members, and what is left if they do not hear it."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from chanserv.layers.redis.mirrors import Mirrors
from chanserv.layers.redis.recent import MOST_REMEMBERED, REMEMBERED_FOR, Recent
from chanserv.messages import Forget
from tests.layers.redis.cases import BehindProxy, RedisCase
from tests.layers.redis.stores import cut


class NewsThatAreLate(BehindProxy):
    """Owners behind a proxy."""

    async def test_an_owner_hears_of_a_member_before_the_answer_that_made_it_the_owner(
        self,
    ) -> None:
        owner, other = await self.behind_proxy()
        third = await self.peer(other)
        await other.group_channels("group")
        self.proxy.holds_answers = True
        waiting = owner.receive(["process!"])
        await self.until(lambda: self.owns(other, "process!"))
        await other.group_add("group", "process!x")
        # The bell has a connection of its own.
        await owner._shards[0]._bell.call("PING")
        self.proxy.release()
        await self.all_heard()
        # Nobody but the owner knows of it now.
        await third.group_channels("group")
        cut(other)
        self.layers.remove(other)
        await self.restart(self.servers[0])
        self.assertEqual(await third.group_channels("group"), ["process!x"])
        self.leave(waiting)

    async def test_a_change_is_not_lost_of_which_its_owner_has_not_heard(self) -> None:
        owner, other = await self.behind_proxy()
        waiting = owner.receive(["process!"])
        await other.group_add("group", "process!old")
        await self.all_heard()
        self.proxy.holds_bells = True
        await other.group_add("group", "process!new")
        # For connections to come: what has waited is gone with these.
        self.proxy.holds_bells = False
        for _ in range(2):
            await self.restart(self.servers[0])
        both = ["process!new", "process!old"]
        self.assertEqual(sorted(await other.group_channels("group")), both)
        await other.send_group("group", {"number": 1})
        (delivery,) = await waiting
        self.assertEqual(sorted(delivery.recipients), both)

    async def test_a_channel_that_left_all_its_groups_does_not_come_back(self) -> None:
        owner, _ = await self.behind_proxy()
        waiting = owner.receive(["process!"])
        for group in ("one", "two"):
            await owner.group_add(group, "process!x")
        await self.all_heard()
        self.proxy.holds_bells = True
        await owner.send_batch([Forget("process!x")])
        # For connections to come: what has waited is gone with these.
        self.proxy.holds_bells = False
        await self.restart(self.servers[0])
        for group in ("one", "two"):
            self.assertEqual(await owner.group_channels(group), [])
        self.leave(waiting)

    async def owns(self, layer: Any, mailbox: str) -> bool:
        """Whether a store knows an owner of C{mailbox}."""
        (shard,) = layer._shards
        return bool(await shard.call("EXISTS", f"{layer._space.prefix}owner:{mailbox}"))


class NewsOnRegistering(RedisCase):
    async def test_what_was_rung_while_a_process_registered_is_asked_for(self) -> None:
        owner, other = await self.peers(2)
        third = await self.peer(other)
        waiting = owner.receive(["process!"])
        await other.group_add("group", "process!one")
        await self.all_heard()
        waiting.cancel()
        self.leave(waiting)
        (shard,) = owner._shards
        # Between the answer of the store and the use that is made of it.
        answers: list[Any] = []
        with patch.object(shard, "_greeted", lambda *answer: answers.append(answer)):
            shard._register_again()
            await self.eventually(lambda: answers)
        await other.group_add("group", "process!two")
        await shard._bell.call("PING")
        shard._greeted(*answers[0])
        await self.all_heard()
        await third.group_channels("group")
        cut(other)
        self.layers.remove(other)
        await self.restart(self.servers[0])
        self.assertEqual(
            sorted(await third.group_channels("group")), ["process!one", "process!two"]
        )


def test_only_mailboxes_of_the_shard_itself_are_expected() -> None:
    mirrors = Mirrors(lambda name: "here" if name.startswith("h") else "there")
    mirrors.expect("here", ["h!", "t!", "h", "h?x"])
    assert mirrors.mailboxes("here") == ["h!"]
    assert mirrors.mailboxes("there") == []


def test_a_change_is_remembered_for_a_while() -> None:
    recent = Recent()
    recent.note(["f", "old"], 0.0)
    recent.note(["f", "new"], REMEMBERED_FOR)
    recent.forget_old(REMEMBERED_FOR)
    assert list(recent.again()) == [["f", "old", "f", "new"]]
    recent.forget_old(REMEMBERED_FOR + 1)
    assert list(recent.again()) == [["f", "new"]]
    assert list(recent.again()) == [["f", "new"]]


def test_the_last_changes_are_remembered_in_parts_and_in_their_order() -> None:
    recent = Recent()
    for number in range(MOST_REMEMBERED + 700):
        recent.note(["f", number], 0.0)
    parts = list(recent.again())
    assert {len(part) for part in parts} == {1000}
    assert [word for part in parts for word in part if word != "f"] == list(
        range(700, MOST_REMEMBERED + 700)
    )
