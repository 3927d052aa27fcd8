"""
Waiting for messages, on all shards at once.

All local receives that name the same channels share one I{watch}, known in the
stores by its I{signature}.  A watch asks one shard at a time, for as much as its
receives can use together; so no receive is ever handed more than it asked for.
A shard that had nothing has the process stand in the queue of those who wait
for these channels: then it is I{armed}, and need not be asked before it rings.

A bell goes to one process of those that wait.  So whoever was rung and has
nobody left who waits passes the bell on, and whoever cannot use all that a take
brought puts the rest back, in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.codec import Codec
from chanserv.core.outstanding import Outstanding
from chanserv.errors import ChannelLayerError, CorruptMessage, LayerUnavailable
from chanserv.layers.redis.entry import Entry
from chanserv.layers.redis.mirrors import Mirrors
from chanserv.layers.redis.takes import Found
from chanserv.layers.redis.watches import Receive, Watch, Watches
from chanserv.messages import Delivery, Outcome

if TYPE_CHECKING:
    from chanserv.layers.redis.shard import Shard

MOST_WANTED: Final = 10_000
"""Entries that one take asks for, however many its receives could use: the
capacity of a mailbox."""

MOST_ASKS: Final = 100
"""Watches that one take asks for: so many threads of a process may each wait
for the body of another request."""


class Receiving:
    """
    All that waits in one layer object.

    It is the L{House<chanserv.layers.redis.house.House>} of its shards, as far
    as messages go.
    """

    _log = Logger(namespace="chanserv.redis")

    def __init__(
        self, reactor: Any, codec: Codec, mirrors: Mirrors, outstanding: Outstanding
    ) -> None:
        self._reactor = reactor
        self._codec = codec
        self._mirrors = mirrors
        self._outstanding = outstanding
        self._shards: list[Shard] = []
        self._watches = Watches(self._forgotten)
        self._closed = False
        self._under_way = 0
        self._quiet: Deferred[None] | None = None
        # Where settled deliveries go while a batch is put together.
        self.gathered: list[tuple[Shard, str, Outcome]] | None = None

    def use(self, shards: Sequence[Shard]) -> None:
        """Read from C{shards}."""
        self._shards = list(shards)

    def reads(self, mailbox: str) -> bool:
        """Whether this process receives from C{mailbox}, or did lately."""
        return self._watches.read(mailbox)

    def idle(self) -> bool:
        """Whether nothing is under way: each watch waits for the bells of all shards
        that can be reached."""
        greeted = {shard for shard in self._shards if shard.greeted}
        return not self._under_way and all(
            watch.armed >= greeted for watch in self._watches if watch.receives
        )

    # Receives

    def receive(
        self, channels: Sequence[str], limit: int, at_once: Iterable[Shard] | None = None
    ) -> Deferred[list[Delivery]]:
        """
        Wait for deliveries.

        @param channels: their names, checked.
        @param at_once: ask these shards, and give up when all have nothing;
            L{None} to wait.
        """
        watch = self._watches.of(channels)
        unasked = None if at_once is None else {shard for shard in at_once if shard.greeted}
        if unasked is not None and not unasked:
            return succeed([])
        receive = Receive(limit, unasked)
        receive.deferred = Deferred(lambda _: self._withdraw(watch, receive))
        watch.receives[receive] = None
        if receive.unasked is not None:
            # What is on its way to ring would come too late.
            watch.armed -= receive.unasked
        self._pump()
        return receive.deferred

    def _forgotten(self, watch: Watch) -> None:
        for shard in self._shards:
            shard.forget(watch.signature)

    def _withdraw(self, watch: Watch, receive: Receive) -> None:
        watch.receives.pop(receive, None)
        self._settle_down(watch)

    # Takes

    def _pump(self) -> None:
        """Ask each shard that may have something for someone."""
        if self._closed:
            return
        if len(self._shards) > 1:
            # Another one first, each time.
            self._shards.append(self._shards.pop(0))
        for shard in self._shards:
            if shard.greeted and not shard.taking:
                asked = self._to_be_asked(shard)
                if asked:
                    self._take(shard, asked)

    def _to_be_asked(self, shard: Shard) -> list[Watch]:
        asked = []
        for watch in self._watches:
            if watch.receives and not watch.asking and shard not in watch.armed:
                asked.append(watch)
                if len(asked) == MOST_ASKS:
                    break
        return asked

    def _take(self, shard: Shard, asked: list[Watch]) -> None:
        for watch in asked:
            watch.asking = True
            watch.rung.discard(shard)
        self._under_way += 1
        taking = shard.take([(watch.signature, watch.wanted, watch.channels) for watch in asked])
        taking.addCallbacks(
            self._taken, self._not_taken, callbackArgs=(shard, asked), errbackArgs=(asked,)
        )
        taking.addErrback(self._our_fault)
        taking.addBoth(self._go_on, shard)

    def _taken(self, found: Found, shard: Shard, asked: list[Watch]) -> None:
        for watch, entries in zip(asked, found, strict=True):
            watch.asking = False
            if entries is not None and not entries:
                # A bell that is heard before this was rung after it.
                if shard not in watch.rung:
                    watch.armed.add(shard)
                self._note_empty(watch, shard)
        left: list[Entry] = []
        for watch, entries in zip(asked, found, strict=True):
            if entries:
                watch.turn(entries)
                left += self._hand_out(shard, watch, entries)
        self._give_away(shard, left)
        for watch in asked:
            self._settle_down(watch)

    def _not_taken(self, failure: Failure, asked: list[Watch]) -> None:
        failure.trap(ChannelLayerError)  # type: ignore[no-untyped-call]
        for watch in asked:
            watch.asking = False

    def _go_on(self, _: None, shard: Shard) -> None:
        shard.taking = False
        self._under_way -= 1
        if not shard.greeted:
            self.lost(shard)
        self._end_if_quiet()
        self._pump()

    def _note_empty(self, watch: Watch, shard: Shard) -> None:
        """Let those who do not wait give up who have asked all shards."""
        for receive in [one for one in watch.receives if one.unasked is not None]:
            assert receive.unasked is not None
            receive.unasked.discard(shard)
            if not receive.unasked:
                watch.receives.pop(receive, None)
                receive.deferred.callback([])

    # Handing out

    def _hand_out(self, shard: Shard, watch: Watch, entries: list[Entry]) -> list[Entry]:
        """
        Give C{entries} to those who wait in C{watch}.

        @return: what nobody there could use.
        """
        start = 0
        while start < len(entries) and watch.receives:
            receive = next(iter(watch.receives))
            deliveries: list[Delivery] = []
            while start < len(entries) and len(deliveries) < receive.limit:
                delivery = self._delivery(shard, entries[start])
                start += 1
                if delivery is not None:
                    deliveries.append(delivery)
            if deliveries:
                del watch.receives[receive]
                receive.deferred.callback(deliveries)
        return entries[start:]

    def _give_away(self, shard: Shard, entries: list[Entry]) -> None:
        """Give what one watch could not use to others, or put it back."""
        back: list[Entry] = []
        for mailbox in dict.fromkeys(entry.mailbox for entry in entries):
            rest = [entry for entry in entries if entry.mailbox == mailbox]
            while rest and (watch := self._watches.waiting_for(mailbox)) is not None:
                rest = self._hand_out(shard, watch, rest)
            back += rest
        if back:
            shard.leased.put_back(back)

    def _delivery(self, shard: Shard, entry: Entry) -> Delivery | None:
        """What is handed out; L{None} where nobody can use it."""
        recipients = entry.recipients(self._mirrors.of(entry.to), shard.now)
        try:
            message = entry.message(self._codec)
        except CorruptMessage as error:
            self._useless(shard, entry, error)
            return None
        if entry.kind == b"r":
            self._outstanding.answered(shard.name, entry.to)
        if not recipients:
            # All members have left since it was sent.
            if entry.lease is not None:
                shard.leased.settle(entry.lease, Outcome.SETTLED)
            return None
        lease = entry.lease
        if lease is None:
            return Delivery(recipients, message)
        return Delivery(recipients, message, self._settler(shard, lease))

    def _settler(self, shard: Shard, lease: str) -> Callable[[Outcome], object]:
        def settle(outcome: Outcome) -> None:
            if self._closed:
                return
            if self.gathered is not None:
                self.gathered.append((shard, lease, outcome))
            else:
                shard.leased.settle(lease, outcome)

        return settle

    def _useless(self, shard: Shard, entry: Entry, error: CorruptMessage) -> None:
        self._log.error(
            "a message on {channel} from Redis {name} is lost: {error}",
            channel=entry.to,
            name=shard.name,
            error=error,
        )
        if entry.lease is not None:
            shard.leased.settle(entry.lease, "useless")
        else:
            shard.post(("u", entry.mailbox)).addErrback(shard.complain)

    # What shards tell

    def ready(self, shard: Shard) -> None:
        """See L{House<chanserv.layers.redis.house.House>}."""
        for watch in self._watches:
            watch.armed.discard(shard)
        self._pump()

    def rung(self, shard: Shard, signature: str) -> None:
        """See L{House<chanserv.layers.redis.house.House>}."""
        watch = self._watches.by_signature(signature)
        if watch is None:
            shard.post(("n", signature)).addErrback(shard.complain)
            return
        watch.armed.discard(shard)
        watch.rung.add(shard)
        if watch.receives:
            self._pump()
        else:
            self._settle_down(watch)

    def lost(self, shard: Shard) -> None:
        """See L{House<chanserv.layers.redis.house.House>}."""
        # Those who do not wait do not wait for its return.
        for watch in self._watches:
            self._note_empty(watch, shard)

    def silenced(self, shard: Shard, signature: str) -> None:
        """See L{House<chanserv.layers.redis.house.House>}."""
        watch = self._watches.by_signature(signature)
        if watch is not None:
            watch.armed.discard(shard)
            self._pump()

    def recovered(self, shard: Shard, entries: list[Entry]) -> None:
        """See L{House<chanserv.layers.redis.house.House>}."""
        self._give_away(shard, entries)

    def _settle_down(self, watch: Watch) -> None:
        """Pass on what was rung for nobody, unless somebody comes at once."""
        if watch.rung and not watch.receives:
            self._reactor.callLater(0, self._pass_on, watch)

    def _pass_on(self, watch: Watch) -> None:
        if watch.receives or self._closed:
            return
        rung, watch.rung = watch.rung, set()
        for shard in rung:
            shard.post(("n", watch.signature)).addErrback(shard.complain)

    # The end

    def close(self, reason: Callable[[], LayerUnavailable]) -> Deferred[None]:
        """
        Fail all who wait.

        @return: fires when what is on its way to them has been put back.
        """
        self._closed = True
        waiting = [one for watch in self._watches for one in watch.receives]
        for watch in self._watches:
            watch.receives.clear()
        for receive in waiting:
            if not receive.deferred.called:
                receive.deferred.errback(reason())
        done: Deferred[None] = Deferred()
        self._quiet = done
        self._end_if_quiet()
        return done

    def _end_if_quiet(self) -> None:
        if self._quiet is not None and not self._under_way:
            quiet, self._quiet = self._quiet, None
            quiet.callback(None)

    def _our_fault(self, failure: Failure) -> None:
        self._log.failure("what was taken from Redis could not be handed out", failure)
