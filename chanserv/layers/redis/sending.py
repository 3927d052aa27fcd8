"""
Sending: one message, or many operations in one trip.

With one shard all of a batch is one call of a program.  With several, its
operations are done run by run: those of one kind that follow each other go to
all their shards at once, and the next run when they have answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred

from chanserv.core.outstanding import Outstanding
from chanserv.errors import ChannelFull, ChannelLayerError, LayerUnavailable
from chanserv.layers.redis.leased import joined, settling
from chanserv.layers.redis.places import Places
from chanserv.layers.redis.preparing import Prepared, Preparing
from chanserv.layers.redis.programs import REACH
from chanserv.layers.redis.protocol import Word
from chanserv.layers.redis.shard import Shard
from chanserv.layers.redis.turns import Turns, all_done
from chanserv.messages import Forget, GroupSend, Message, Operation, Outcome, Send
from chanserv.names import mailbox_of

Settled: TypeAlias = "Sequence[tuple[Shard, str, Outcome]]"
"""Leases to settle."""

Errors: TypeAlias = "list[ChannelLayerError | None]"

Run: TypeAlias = "list[tuple[int, Prepared]]"
"""Operations of a batch, with their places in it."""


class Sending:
    """Everything that is sent by one layer object."""

    def __init__(
        self,
        places: Places,
        preparing: Preparing,
        turns: Turns,
        outstanding: Outstanding,
        reads: Callable[[str], bool],
    ) -> None:
        """
        @param turns: the changes to memberships that are under way.
        @param reads: whether this process receives from a mailbox.
        """
        self._places = places
        self._preparing = preparing
        self._turns = turns
        self._outstanding = outstanding
        self._reads = reads

    # One

    def send(self, channel: str, message: Message, receipt: str | None) -> Deferred[None]:
        """
        Send one message.

        @return: fails with L{ChannelFull} or L{LayerUnavailable}.
        @raise ChannelLayerError: it cannot be sent at all.
        """
        made = self._preparing.send(channel, message, receipt)
        self._note_asked(made)
        sending = made.shard.post(made.words)
        return sending.addCallbacks(
            self._sent, self._not_sent, callbackArgs=(made,), errbackArgs=(made,)
        )

    def _sent(self, results: list[list[Any]], made: Prepared) -> None:
        if results:
            self._note_failed(made)
            raise _full(made, results[0])

    def _not_sent(self, failure: Any, made: Prepared) -> Any:
        self._note_failed(made)
        return failure

    def _note_asked(self, made: Prepared) -> None:
        if made.receipt is not None and self._reads(mailbox_of(made.receipt)):
            self._outstanding.asked(made.shard.name, made.receipt)

    def _note_failed(self, made: Prepared) -> None:
        if made.receipt is not None:
            self._outstanding.answered(made.shard.name, made.receipt)

    async def send_group(self, group: str, message: Message) -> None:
        """Send one message to all members of a group."""
        made = self._preparing.group_send(group, message)
        if self._places.only is not None:
            await made.shard.operate(made.words)
            return
        errors: Errors = [None]
        await self._turns.message(partial(self._send_groups, [(0, made)], errors))
        if errors[0] is not None:
            raise errors[0]

    # Many

    async def send_batch(self, operations: Sequence[Operation], settled: Settled) -> Errors:
        """Do all of it, in order, then settle; return each operation's error."""
        errors: Errors = [None] * len(operations)
        prepared = self._preparing.operations(operations, errors)
        shards = {made.shard for _, made in prepared} | {shard for shard, _, _ in settled}
        if len(shards) == 1 and (
            self._places.only is not None or all(made.kind is Send for _, made in prepared)
        ):
            await self._trip(shards.pop(), prepared, settled, errors)
        elif shards:
            runs = partial(self._do_runs, prepared, settled, errors)
            changes = any(made.kind is Forget for _, made in prepared)
            await self._turns.message(runs, changes)
        return errors

    async def _do_runs(self, prepared: Run, settled: Settled, errors: Errors) -> None:
        full: set[str] = set()
        for kind, run in groupby(prepared, lambda one: one[1].kind):
            await self._do_run(kind, list(run), errors, full)
        settled = _judged(settled, prepared, errors)
        await all_done(
            [
                self._trip_soon(shard, [], [one for one in settled if one[0] is shard], errors)
                for shard in {shard for shard, _, _ in settled}
            ]
        )

    async def _do_run(self, kind: type, run: Run, errors: Errors, full: set[str]) -> None:
        """Operations of one kind, to all their shards at once."""
        if kind is GroupSend:
            await self._send_groups(run, errors)
            return
        if kind is Forget:
            await all_done([Deferred.fromCoroutine(self._forget(*one, errors)) for one in run])
            return
        trips = [
            self._trip_soon(shard, [one for one in run if one[1].shard is shard], (), errors, full)
            for shard in dict.fromkeys(made.shard for _, made in run)
        ]
        await all_done(trips)

    def _trip_soon(
        self,
        shard: Shard,
        prepared: Run,
        settled: Settled,
        errors: Errors,
        full: set[str] | None = None,
    ) -> Deferred[None]:
        return Deferred.fromCoroutine(self._trip(shard, prepared, settled, errors, full))

    async def _trip(
        self,
        shard: Shard,
        prepared: Run,
        settled: Settled,
        errors: Errors,
        full: set[str] | None = None,
    ) -> None:
        """
        One script on one shard.

        @param full: mailboxes that were full in this batch, and take no more of it.
        """
        words: list[Word] = []
        asked: list[Prepared] = []
        for _, made in prepared:
            if full and made.target in full:
                # The program counts it and says how full it is.
                words += ("s", made.target, 0, b"")
            else:
                asked.append(made)
                self._note_asked(made)
                words += made.words
        words += joined(settling(lease, outcome.value) for _, lease, outcome in settled)
        try:
            if all(made.kind is Send for _, made in prepared):
                results = await shard.post(words, len(prepared) + len(settled))
            else:
                results = await shard.operate(words)
        except ChannelLayerError as error:
            errors_of(prepared, error, errors)
            for made in asked:
                self._note_failed(made)
            for _, lease, outcome in settled:
                # Nobody knows whether it was done.  Should it turn out that it
                # was not, those who wait for an answer are told.
                shard.leased.not_settled(lease, (Outcome.LOST if prepared else outcome).value)
            return
        for _, made in prepared:
            if made.kind is Forget:
                shard.remember(made.words)
        for found in results:
            place, made = prepared[found[0]]
            if full is None or made.target not in full:
                self._note_failed(made)
            errors[place] = _full(made, found)
        if full is not None:
            full.update(prepared[found[0]][1].target for found in results)

    # Groups, over several shards

    async def _send_groups(self, run: Run, errors: Errors) -> None:
        """
        Find the mailboxes that each group reaches, then send to these, in order.
        """
        reached: dict[int, list[Any]] = {}
        for shard in dict.fromkeys(made.shard for _, made in run):
            mine = [(place, made) for place, made in run if made.shard is shard]
            try:
                found = await shard.run(REACH, *(made.target for _, made in mine))
            except ChannelLayerError as error:
                errors_of(mine, error, errors)
            else:
                reached.update(zip([place for place, _ in mine], found, strict=True))
        words: dict[Shard, list[Word]] = {}
        places: dict[Shard, set[int]] = {}
        for place, made in run:
            for name, capacity, flag in _triples(reached.get(place, ())):
                shard = self._places.owner_of(name.decode())
                words.setdefault(shard, []).extend(
                    ("p", name, capacity, flag, made.target, made.payload)
                )
                places.setdefault(shard, set()).add(place)
        await all_done(
            [
                Deferred.fromCoroutine(_push(shard, words[shard], places[shard], errors))
                for shard in words
            ]
        )

    async def _forget(self, place: int, made: Prepared, errors: Errors) -> None:
        channel = made.target
        try:
            for _, *groups in await made.shard.change(made.words):
                words: dict[Shard, list[Word]] = {}
                for group in groups:
                    shard = self._places.owner_of(group.decode())
                    words.setdefault(shard, []).extend(("x", group, channel))
                await all_done(
                    [Deferred.fromCoroutine(shard.change(words[shard])) for shard in words]
                )
        except ChannelLayerError as error:
            errors[place] = error


def errors_of(
    run: Iterable[tuple[int, Prepared]], error: ChannelLayerError, errors: Errors
) -> None:
    """Let each operation of a run fail with C{error}."""
    for place, _ in run:
        errors[place] = error


def _judged(settled: Settled, prepared: Iterable[tuple[int, Prepared]], errors: Errors) -> Settled:
    """
    Call lost what was to be settled on a shard that has failed the batch: an
    answer goes where its receipt is given, and may be missing.
    """
    failed = {made.shard for place, made in prepared if isinstance(errors[place], LayerUnavailable)}
    return [
        (shard, lease, Outcome.LOST if shard in failed else outcome)
        for shard, lease, outcome in settled
    ]


def _full(made: Prepared, found: list[Any]) -> ChannelFull:
    _, depth, waited = found
    return ChannelFull(made.target, depth, made.capacity, waited / 1000)


def _triples(flat: Sequence[Any]) -> Iterable[tuple[Any, Any, Any]]:
    return zip(flat[::3], flat[1::3], flat[2::3], strict=True)


async def _push(shard: Shard, words: list[Word], places: Iterable[int], errors: Errors) -> None:
    try:
        await shard.operate(words)
    except LayerUnavailable as error:
        for place in places:
            errors[place] = error
