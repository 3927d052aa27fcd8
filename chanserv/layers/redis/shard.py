"""
One server of the layer: this process's place on it.

A shard has two connections: one for commands, and one on which readers are
rung.  With each new connection the process registers, and the store tells
whether it still knows it.  From then on it gives a sign of life every second,
which is also when what has fallen due is dropped and the dead are found; there
is no other housekeeping, and no process has a part in it that another could
not play.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.errors import ChannelLayerError, LayerUnavailable
from chanserv.layers.redis.calls import Calls
from chanserv.layers.redis.complaints import Complaints
from chanserv.layers.redis.connection import Connection
from chanserv.layers.redis.entry import Entry
from chanserv.layers.redis.held import Commands
from chanserv.layers.redis.house import House
from chanserv.layers.redis.leased import Leased, joined
from chanserv.layers.redis.leases import DEFAULT_LEASES, Leases
from chanserv.layers.redis.mending import Mending, run_id_of
from chanserv.layers.redis.posts import Posts, Results
from chanserv.layers.redis.programs import BEAT, BYE, HELLO, NEWS, OPERATE, POST, TAKE, Program
from chanserv.layers.redis.protocol import Word
from chanserv.layers.redis.recent import Recent
from chanserv.layers.redis.server import Server
from chanserv.layers.redis.signatures import KNOWN_FOR, Signatures
from chanserv.layers.redis.space import Space
from chanserv.layers.redis.subscription import Subscription
from chanserv.layers.redis.takes import Ask, Found, Takes

TAKE_AGAIN: Final = 1.0
"""Seconds before the next take when the server has refused one, out of memory
say, though the connection stands."""

BYE_TIMEOUT: Final = 2.0
"""Seconds that L{Shard.stop} waits for the server; without its word, the leases
end by themselves."""


class Shard:
    """
    One server, as one layer object uses it.

    @ivar name: the server's name, the same in all processes.
    @ivar leased: settles what was taken, or puts it back.
    @ivar complain: an errback for what nobody waits for.
    @ivar taking: whether a take is under way.
    @ivar greeted: whether this process is registered there, on this connection.
    """

    _log = Logger(namespace="chanserv.redis")

    def __init__(
        self,
        server: Server,
        reactor: Any,
        space: Space,
        process: str,
        house: House,
        leases: Leases = DEFAULT_LEASES,
    ) -> None:
        """
        @param process: what this layer object is called in the store; nobody
            else ever has that name.
        @param house: is told what happens here.
        """
        self.name = server.name
        self._reactor = reactor
        self._space = space
        self.complain = Complaints(server.name, reactor)
        self._calls = Calls(space)
        self._process = process
        self._house = house
        self._leases = leases
        self._connection = Connection(
            server, reactor, prepare=self._prepare, lost=self._lost, client_name="chanserv"
        )
        self._bell = Subscription(
            server,
            reactor,
            channels=[space.bell(process)],
            heard=self._heard,
            ready=self._hears,
            beside=self._connection,
            client_name="chanserv-bell",
        )
        self.taking = False
        self.greeted = False
        self._resting: IDelayedCall | None = None
        self._beating: IDelayedCall | None = None
        self._beat_under_way = False
        self._posts = Posts(reactor, partial(self._call, POST))
        self.leased = Leased(server.name, self.post, self.complain)
        self._signatures = Signatures()
        self._takes = Takes(process, self._signatures)
        self._recent = Recent()
        self._mending = Mending(self, house, self._recent, (process, space.kept))
        self._registering = False
        # What the store was told by, and which run of which server it was.
        self._born: bytes | None = None
        self._run_id: bytes | None = None
        # The server's clock less the reactor's.
        self._ahead = 0.0
        self._losses = 0
        self._stopping = False

    # Life

    def start(self) -> None:
        """Begin to connect."""
        self._connection.start()
        self._bell.start()
        self._schedule_beat()

    def stop(self) -> Deferred[None]:
        """
        Say goodbye and disconnect.

        @return: fires when both connections are closed.
        """
        self._stopping = True
        for call in (self._beating, self._resting):
            if call is not None:
                call.cancel()
        self._beating = self._resting = None
        self._posts.flush()
        said: Deferred[Any] = succeed(None)
        if self.greeted:
            self.greeted = False
            said = self._say_bye()
            said.addTimeout(BYE_TIMEOUT, self._reactor)
            said.addErrback(self.complain)
        said.addCallback(lambda _: DeferredList([self._connection.stop(), self._bell.stop()]))
        return said.addCallback(lambda _: None)

    def _say_bye(self) -> Deferred[Any]:
        """Have the store end this process, part by part."""
        saying = self._run(BYE, self._process)
        return saying.addCallback(lambda over: None if over else self._say_bye())

    @property
    def down(self) -> bool:
        """Whether its server is known to be out of reach."""
        return self._connection.down is not None

    @property
    def now(self) -> float:
        """The server's clock, in seconds, as well as it is known."""
        return float(self._reactor.seconds()) + self._ahead

    def reached(self) -> Deferred[Any]:
        """Fires when commands go out; fails with L{LayerUnavailable}."""
        return self.call("PING")

    # Commands

    def operate(self, words: Sequence[Word]) -> Deferred[Results]:
        """Do what C{words} say: see C{lua/operate.lua}."""
        self._posts.flush()
        return self._call(OPERATE, words)

    async def change(self, words: Sequence[Word]) -> Results:
        """The same for changes to memberships: see L{remember}."""
        results = await self.operate(words)
        self.remember(words)
        return results

    def remember(self, words: Sequence[Word]) -> None:
        """Note changes to memberships that are done, to be done again if the store loses them."""
        self._recent.note(words, self._reactor.seconds())

    def post(self, words: Sequence[Word], count: int = 1) -> Deferred[Results]:
        """
        The same for what has nothing to do with groups.

        Whatever is posted in one turn of the reactor goes in one call.

        @param count: how many operations C{words} are.
        """
        return self._posts.add(words, count)

    def run(self, program: Program, *words: Word) -> Deferred[Any]:
        """Run another of the layer's programs."""
        return self._run(program, *words)

    def call(self, *words: Word) -> Deferred[Any]:
        """Send a command."""
        self._posts.flush()
        return self._connection.call(*words)

    def _call(self, program: Program, words: Sequence[Word]) -> Deferred[Results]:
        """Run one of the programs that do operations."""
        return self._calls.run(self._connection, program, (self._process, self._space.kept, *words))

    def _run(self, program: Program, *words: Word) -> Deferred[Any]:
        self._posts.flush()
        return self._calls.run(self._connection, program, words)

    # Takes

    def take(self, asks: Sequence[Ask]) -> Deferred[Found]:
        """
        Take what waits.

        Call it while the shard is C{greeted} and not C{taking}.

        @return: fires with the entries for each of C{asks}; the store will ring
            for those that got none.  Fails with a L{ChannelLayerError}.
        """
        self.taking = True
        for _, _, channels in asks:
            self._house.expect(self, channels)
        number, words = self._takes.next(asks, self._reactor.seconds())
        taking = self._run(TAKE, *words)
        return taking.addCallbacks(
            self._taken, self._not_taken, callbackArgs=(number,), errbackArgs=(number,)
        )

    def _taken(self, answer: list[Any] | None, number: int) -> Found:
        if answer is None:
            self._register_again()
            raise LayerUnavailable(f"Redis {self.name} knows nothing of this process any more")
        now, feeds, *entries = answer
        self._set_clock(now)
        if feeds:
            self._house.fed(self, feeds)
        return self._takes.read(number, entries)

    def _not_taken(self, failure: Failure, number: int) -> Failure:
        if self._connection.up:
            self._log.error(
                "Redis {name} refused to be read from, and is asked again in {wait} s: {why}",
                name=self.name,
                wait=TAKE_AGAIN,
                why=failure.getErrorMessage(),
            )
        # It may be that only the answer was lost.
        self._takes.lost(number)
        self.greeted = False
        self._rest()
        return failure

    def _rest(self) -> None:
        """Register again in a while, unless another connection does."""
        if self._connection.up and self._resting is None and not self._stopping:
            self._resting = self._reactor.callLater(TAKE_AGAIN, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if self._connection.up:
            self._register_again()

    def forget(self, signature: str) -> None:
        """Nobody here reads by C{signature} any more."""
        self._signatures.forget(signature)

    # Registering

    def _prepare(self, link: Commands) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._greet(link))

    def _register_again(self) -> None:
        """The store does not know this process, though the connection stands."""
        self.greeted = False
        if self._stopping or self._registering:
            return
        self._registering = True
        greeting = Deferred.fromCoroutine(self._greet(self._connection))
        greeting.addBoth(self._registered)

    def _registered(self, failure: Failure | None) -> None:
        self._registering = False
        if failure is not None:
            self.complain(failure)
            self._rest()

    async def _greet(self, link: Commands) -> None:
        """Register, and mend what the store has lost."""
        await self._calls.teach(link)
        run = partial(self._calls.run, link)
        leases = self._leases
        now, known, owner, born, raws, tables = await run(
            HELLO,
            (
                self._process,
                round(leases.reader * 1000),
                round(leases.owner * 1000),
                self._takes.unanswered,
                secrets.token_hex(8),
            ),
        )
        self._set_clock(now)
        entries = self._takes.recovered(raws)
        run_id = await run_id_of(link)
        if self._born is None or (owner and run_id == self._run_id):
            self._house.fed(self, tables)
        else:
            await self._mending.put_back(run)
            if born != self._born or run_id != self._run_id:
                await self._mending.tell_lost(run, entries)
        # Not before: should this connection break, the next one mends it all.
        self._born, self._run_id = born, run_id
        failed = self.leased.take()
        if known and failed:
            try:
                await run(OPERATE, (self._process, self._space.kept, *joined(failed.values())))
            except ChannelLayerError:
                self.leased.keep(failed)
                raise
        self._takes.done()
        self._reactor.callLater(0, self._greeted, entries, self._losses)

    def _greeted(self, entries: list[Entry], losses: int) -> None:
        """Go on, once the connection is for everybody."""
        if self._stopping:
            return
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        # It may be gone already.
        self.greeted = losses == self._losses
        if entries:
            self._house.recovered(self, entries)
        if self.greeted:
            self._house.ready(self)
            # What was rung meanwhile was not asked for.
            self._ask_for_news()

    def _lost(self) -> None:
        """The connection for commands is gone."""
        self.greeted = False
        self._losses += 1
        self._house.lost(self)

    # The sign of life

    def _schedule_beat(self) -> None:
        if not self._stopping:
            self._beating = self._reactor.callLater(self._leases.heartbeat, self._beat)

    def _beat(self) -> None:
        self._schedule_beat()
        if self.greeted and not self._beat_under_way:
            self.beat()

    def beat(self) -> Deferred[None]:
        """Give a sign of life, and have the store drop what is due."""
        renewed, forgotten = self._signatures.due(self._reactor.seconds())
        self._beat_under_way = True
        beating = self._run(
            BEAT,
            self._process,
            round(self._leases.reader * 1000),
            round(self._leases.owner * 1000),
            self._takes.answered,
            round(KNOWN_FOR * 1000),
            len(renewed),
            *renewed,
            *forgotten,
        )
        return beating.addBoth(self._beaten)

    def _beaten(self, answer: Any) -> Deferred[None] | None:
        self._beat_under_way = False
        if isinstance(answer, Failure):
            self.complain(answer)
        elif self._stopping:
            pass
        elif answer is None:
            if self.greeted:
                self._log.warn(
                    "Redis {name} knows nothing of this process any more: it was silent for "
                    "longer than its lease, or the data is gone; it registers again",
                    name=self.name,
                )
                self._register_again()
        else:
            self._set_clock(answer[0])
            self._recent.forget_old(self._reactor.seconds())
            # What was refused, say for want of memory.
            self.leased.again()
            for signature in answer[2]:
                self._signatures.lost(signature.decode())
                self._house.silenced(self, signature.decode())
            if answer[1]:
                return self.beat()
        return None

    def _set_clock(self, milliseconds: int) -> None:
        self._ahead = milliseconds / 1000 - self._reactor.seconds()

    # The bell

    def _hears(self) -> None:
        """The bell hangs: what was rung before went unheard."""
        if self.greeted:
            self._house.ready(self)
            self._ask_for_news()

    def _heard(self, _: bytes, signature: bytes) -> None:
        if signature == b"flush":
            self.leased.clear()
            self._recent.clear()
            self._house.flushed()
            self._ask_for_news()
        elif signature == b"members":
            self._ask_for_news()
        else:
            self._house.rung(self, signature.decode())

    def _ask_for_news(self) -> None:
        """Learn of changes to members, which else come with the next take."""
        mailboxes = self._house.mailboxes(self)
        if self.greeted and mailboxes:
            asking = self._run(NEWS, self._process, *mailboxes)
            asking.addCallback(self._told).addErrback(self.complain)

    def _told(self, feeds: list[Any] | None) -> None:
        if feeds is None:
            self._register_again()
        else:
            self._house.fed(self, feeds)
