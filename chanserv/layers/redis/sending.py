"""
Sending: which shard a message goes to, and many operations in one trip.

B{Where messages go.}  A process-specific or single-reader channel has its shard
by the hash of its mailbox.  An ordinary channel is read on all shards: its
messages go where the answer to them goes, by their receipt or C{reply_channel},
so that what one connection sends stays in order and its receipts come behind
its answers; and those without either, by the channel's own name.  Where that
shard is down, an ordinary message that nobody wants a receipt for goes to the
next.

B{Batches.}  With one shard all of a batch is one script.  With several, its
operations are done run by run: those of one kind that follow each other go to
all their shards at once, and the next run when they have answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred

from chanserv.codec import Codec
from chanserv.core.capacity import Capacities
from chanserv.core.outstanding import Outstanding
from chanserv.core.patterns import NamePatterns
from chanserv.core.ring import Ring
from chanserv.errors import (
    ChannelFull,
    ChannelLayerError,
    InvalidMessage,
    LayerUnavailable,
    MessageTooLarge,
)
from chanserv.layers.redis.entry import KEEP_NO_COPY, REDELIVER, rest_of_entry
from chanserv.layers.redis.programs import REACH
from chanserv.layers.redis.protocol import Word
from chanserv.layers.redis.shard import Shard
from chanserv.layers.redis.space import Space
from chanserv.layers.redis.turns import all_done
from chanserv.messages import (
    Forget,
    GroupSend,
    Message,
    Operation,
    Outcome,
    SealedMessage,
    Send,
    seal,
)
from chanserv.names import (
    check_channel,
    check_group,
    check_receipt,
    is_process_specific,
    is_single_reader,
    mailbox_of,
)

_KNOWN_MAILBOXES: Final = 1_024
"""Mailboxes whose capacity is remembered, since it takes all patterns to find."""

Settled: TypeAlias = "Sequence[tuple[Shard, str, Outcome]]"
"""Leases to settle."""

Errors: TypeAlias = "list[ChannelLayerError | None]"


class Prepared:
    """
    One operation, checked and encoded.

    @ivar kind: the type of the operation; a run is of one kind.
    @ivar shard: where it goes.
    @ivar words: what it is called there.
    @ivar mailbox: of a send, where it goes to; else the group or channel.
    """

    __slots__ = ("capacity", "kind", "mailbox", "payload", "receipt", "shard", "words")

    def __init__(self, kind: type, shard: Shard, mailbox: str) -> None:
        self.kind = kind
        self.shard = shard
        self.mailbox = mailbox
        self.words: Sequence[Word] = ()
        self.capacity = 0
        self.payload = b""
        self.receipt: str | None = None


class Sending:
    """Everything that is sent by one layer object."""

    def __init__(
        self,
        shards: Sequence[Shard],
        space: Space,
        codec: Codec,
        capacities: Capacities,
        redeliver: NamePatterns,
        max_message_size: int,
        outstanding: Outstanding,
        reads: Callable[[str], bool],
    ) -> None:
        """
        @param reads: whether this process receives from a mailbox.
        """
        self._shards = {shard.name: shard for shard in shards}
        self._only = shards[0] if len(shards) == 1 else None
        self._ring = Ring([shard.name for shard in shards])
        self._space = space
        self._codec = codec
        self._capacities = capacities
        self._redeliver = redeliver
        self._max_message_size = max_message_size
        self._outstanding = outstanding
        self._reads = reads
        self._known: dict[str, tuple[int, str]] = {}

    # Places

    def owner_of(self, name: str) -> Shard:
        """The shard of a mailbox, or of a group by its name in the store."""
        return self._only or self._shards[self._ring.owner(name)]

    def capacity_of(self, mailbox: str) -> tuple[int, str]:
        """The capacity of C{mailbox}, and the flag of what waits there."""
        known = self._known.get(mailbox)
        if known is None:
            if len(self._known) >= _KNOWN_MAILBOXES:
                self._known = {}
            flag = REDELIVER if self._redeliver and mailbox in self._redeliver else KEEP_NO_COPY
            known = self._known[mailbox] = (self._capacities.of(mailbox), flag)
        return known

    def _place(self, channel: str, message: SealedMessage, receipt: str | None) -> Shard:
        """Where a message goes."""
        if self._only is not None:
            return self._only
        if is_process_specific(channel) or is_single_reader(channel):
            return self.owner_of(mailbox_of(channel))
        if receipt is not None:
            return self.owner_of(mailbox_of(receipt))
        answer = message.get("reply_channel")
        key = mailbox_of(answer) if isinstance(answer, str) else channel
        names = self._ring.preference(key)
        up = (self._shards[name] for name in names if not self._shards[name].down)
        return next(up, self._shards[names[0]])

    # One operation

    def prepare_send(self, channel: str, message: Message, receipt: str | None) -> Prepared:
        """
        Check and encode a send.

        @raise ChannelLayerError: it cannot be sent.
        """
        check_channel(channel)
        if receipt is not None:
            check_receipt(receipt)
        sealed = self._sealed(channel, message)
        mailbox = mailbox_of(channel)
        capacity, flag = self.capacity_of(mailbox)
        made = Prepared(Send, self._place(channel, sealed, receipt), mailbox)
        rest = rest_of_entry(channel, receipt, flag, self._codec.encode(sealed))
        made.words = ("s", mailbox, capacity, rest)
        made.capacity = capacity
        made.receipt = receipt
        return made

    def prepare_group_send(self, group: str, message: Message) -> Prepared:
        """The same for a send to a group."""
        check_group(group)
        name = self._space.group(group)
        made = Prepared(GroupSend, self.owner_of(name), name)
        made.payload = self._codec.encode(self._sealed(group, message))
        made.words = ("g", name, made.payload)
        return made

    def prepare_forget(self, channel: str) -> Prepared:
        """The same for the end of a channel's memberships."""
        check_channel(channel)
        made = Prepared(Forget, self.owner_of(mailbox_of(channel)), channel)
        made.words = ("f" if self._only is not None else "h", channel)
        return made

    def _prepare(self, operation: Operation) -> Prepared | ChannelLayerError:
        try:
            if isinstance(operation, Send):
                return self.prepare_send(operation.channel, operation.message, operation.receipt)
            if isinstance(operation, GroupSend):
                return self.prepare_group_send(operation.group, operation.message)
            if isinstance(operation, Forget):
                return self.prepare_forget(operation.channel)
            raise InvalidMessage("operation", f"is no Send, GroupSend or Forget: {operation!r}")
        except ChannelLayerError as error:
            return error

    def _sealed(self, where: str, message: Message) -> SealedMessage:
        sealed = seal(message)
        if sealed.size > self._max_message_size:
            raise MessageTooLarge(where, sealed.size, self._max_message_size)
        return sealed

    # Trips

    def send(self, made: Prepared) -> Deferred[None]:
        """
        Send one message.

        @return: fails with L{ChannelFull} or L{LayerUnavailable}.
        """
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

    async def send_batch(self, operations: Sequence[Operation], settled: Settled) -> Errors:
        """Do all of it, in order, then settle; return each operation's error."""
        errors: Errors = [None] * len(operations)
        prepared: list[tuple[int, Prepared]] = []
        for place, operation in enumerate(operations):
            made = self._prepare(operation)
            if isinstance(made, Prepared):
                prepared.append((place, made))
            else:
                errors[place] = made
        shards = {made.shard for _, made in prepared}
        shards.update(shard for shard, _, _ in settled)
        if self._only is not None or (
            len(shards) == 1 and all(made.kind is Send for _, made in prepared)
        ):
            if shards:
                await self._trip(shards.pop(), prepared, settled, errors)
            return errors
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
        return errors

    async def _do_run(
        self, kind: type, run: list[tuple[int, Prepared]], errors: Errors, full: set[str]
    ) -> None:
        """Operations of one kind, to all their shards at once."""
        if kind is GroupSend:
            await self.send_groups(run, errors)
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
        prepared: list[tuple[int, Prepared]],
        settled: Settled,
        errors: Errors,
        full: set[str] | None = None,
    ) -> Deferred[None]:
        return Deferred.fromCoroutine(self._trip(shard, prepared, settled, errors, full))

    async def _trip(
        self,
        shard: Shard,
        prepared: list[tuple[int, Prepared]],
        settled: Settled,
        errors: Errors,
        full: set[str] | None = None,
    ) -> None:
        """
        One script on one shard.

        @param full: mailboxes that were full in this batch, and take no more of it.
        """
        words: list[Word] = []
        for _, made in prepared:
            if full and made.mailbox in full:
                # The script counts it and says how full it is.
                words += ("s", made.mailbox, 0, b"")
                continue
            self._note_asked(made)
            words += made.words
        leases = [lease for _, lease, _ in settled]
        for _, lease, outcome in settled:
            words += shard.will_settle(lease, outcome.value)
        try:
            if all(made.kind is Send for _, made in prepared):
                results = await shard.post(words, len(prepared) + len(leases))
            else:
                results = await shard.operate(words)
        except ChannelLayerError as error:
            for place, made in prepared:
                self._note_failed(made)
                errors[place] = error
            if prepared:
                # Nobody knows whether it was done.  Should it turn out that it
                # was not, those who wait for an answer are told.
                for lease in leases:
                    shard.will_settle(lease, Outcome.LOST.value)
            return
        shard.settled(leases)
        for found in results:
            place, made = prepared[found[0]]
            self._note_failed(made)
            errors[place] = _full(made, found)
            if full is not None:
                full.add(made.mailbox)

    # Groups, over several shards

    async def send_groups(self, run: list[tuple[int, Prepared]], errors: Errors) -> None:
        """
        Find the mailboxes that each group reaches, then send to these, in order.
        """
        reached: dict[int, list[Any]] = {}
        for shard in dict.fromkeys(made.shard for _, made in run):
            mine = [(place, made) for place, made in run if made.shard is shard]
            try:
                found = await shard.run(REACH, *(made.mailbox for _, made in mine))
            except ChannelLayerError as error:
                errors_of(mine, error, errors)
            else:
                reached.update(zip([place for place, _ in mine], found, strict=True))
        words: dict[Shard, list[Word]] = {}
        places: dict[Shard, set[int]] = {}
        for place, made in run:
            for name, capacity, flag in _triples(reached.get(place, ())):
                shard = self.owner_of(name.decode())
                words.setdefault(shard, []).extend(
                    ("p", name, capacity, flag, made.mailbox, made.payload)
                )
                places.setdefault(shard, set()).add(place)
        await all_done(
            [
                Deferred.fromCoroutine(_push(shard, words[shard], places[shard], errors))
                for shard in words
            ]
        )

    async def _forget(self, place: int, made: Prepared, errors: Errors) -> None:
        channel = made.mailbox
        try:
            for _, *groups in await made.shard.operate(made.words):
                words: dict[Shard, list[Word]] = {}
                for group in groups:
                    shard = self.owner_of(group.decode())
                    words.setdefault(shard, []).extend(("x", group, channel))
                await all_done([shard.operate(words[shard]) for shard in words])
        except ChannelLayerError as error:
            errors[place] = error

    async def group_add(self, group: str, channel: str) -> None:
        """Begin or renew a membership; both names checked."""
        name, mailbox = self._space.group(group), mailbox_of(channel)
        capacity, flag = self.capacity_of(mailbox)
        lasts = self._space.kept
        there, here = self.owner_of(mailbox), self.owner_of(name)
        join: list[Word] = ["j", name, channel, lasts]
        enlist: list[Word] = ["e", name, channel, lasts, capacity, flag]
        if there is here:
            await there.operate(join + enlist)
        else:
            # Who finds it by its group must find it known to its owner.
            await there.operate(join)
            await here.operate(enlist)

    async def group_discard(self, group: str, channel: str) -> None:
        """End a membership; both names checked."""
        name = self._space.group(group)
        there, here = self.owner_of(mailbox_of(channel)), self.owner_of(name)
        leave: list[Word] = ["l", name, channel]
        strike: list[Word] = ["x", name, channel]
        if there is here:
            await there.operate(leave + strike)
        else:
            await there.operate(leave)
            await here.operate(strike)


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
    return ChannelFull(made.mailbox, depth, made.capacity, waited / 1000)


def _triples(flat: Sequence[Any]) -> Iterable[tuple[Any, Any, Any]]:
    return zip(flat[::3], flat[1::3], flat[2::3], strict=True)


async def _push(shard: Shard, words: list[Word], places: Iterable[int], errors: Errors) -> None:
    try:
        await shard.operate(words)
    except LayerUnavailable as error:
        for place in places:
            errors[place] = error
