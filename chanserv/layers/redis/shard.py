"""
One server of the layer: this process's place on it.

A shard has two connections: one for commands, and one on which readers are
rung.  With each new connection the process registers, and the store tells
whether it still knows it.  From then on it gives a sign of life every second,
which is also when what has fallen due is dropped and the dead are found; there
is no other housekeeping, and no process has a part in it that another could
not play.

B{Takes.}  One is under way at a time.  The store keeps what the last one brought
until the next, so what was taken when a connection broke is handed out after
all, once.

B{Settling.}  What was to be settled when the connection broke is settled on the
next: to settle twice does nothing, and not to settle would leave somebody
waiting for ever.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.errors import LayerUnavailable
from chanserv.layers.redis.calls import Calls
from chanserv.layers.redis.connection import Connection
from chanserv.layers.redis.entry import Entry, read_entry
from chanserv.layers.redis.held import Commands
from chanserv.layers.redis.programs import BEAT, BYE, HELLO, NEWS, OPERATE, POST, TAKE, Program
from chanserv.layers.redis.protocol import Word
from chanserv.layers.redis.refusals import Refused
from chanserv.layers.redis.server import Server
from chanserv.layers.redis.space import Space
from chanserv.layers.redis.subscription import Subscription

READER_LEASE: Final = 3.5
"""Seconds without a sign of life after which what a process has not settled is
lost: with the second that may pass until somebody looks, a dead worker is known
within five."""

SIGNS: Final = 3.5
"""Signs of life in that time, one a second: two may come late or not at all."""

OWNER_LEASE: Final = 20.0
"""Seconds without one after which the mailboxes of a process end, and their
memberships: longer, since what a stalled interface server has lost by that can
not be given to another; and below the thirty seconds that are promised."""

SIGNATURE_KNOWN: Final = 120.0
"""Seconds that the store remembers what a kind of reader reads."""

SIGNATURE_RENEWED: Final = 30.0
"""Seconds between renewals of that: three may fail."""

TAKE_AGAIN: Final = 1.0
"""Seconds before the next take when the server has refused one, out of memory
say, though the connection stands."""

POSTS_AT_ONCE: Final = 200
"""Sends and the like that go in one script: a millisecond or two of the server's time."""

SAID_ONCE_IN: Final = 10.0
"""Seconds between two lines of the log on what a server refuses: a server without
memory may refuse thousands of things in that time, for the same reason."""

BYE_TIMEOUT: Final = 2.0
"""Seconds that L{Shard.stop} waits for the server; without its word, the leases
end by themselves."""

_BY_MISTAKE: Final = "was taken for dead"

Ask: TypeAlias = tuple[str, int, Sequence[str]]
"""What a take asks for: a signature, how many entries, and the channels."""

Post: TypeAlias = "tuple[Sequence[Word], int, Deferred[list[list[Any]]]]"
"""Operations, how many they are, and who waits for them."""

Table: TypeAlias = list[Any]
"""What C{lua/feed.lua} returns for a mailbox."""


@dataclass(frozen=True)
class Leases:
    """
    How long, in seconds, a process is believed to live: what it has taken, and
    what mailboxes it has.
    """

    reader: float = READER_LEASE
    owner: float = OWNER_LEASE

    @property
    def heartbeat(self) -> float:
        """Seconds between signs of life."""
        return self.reader / SIGNS


class House(Protocol):
    """What a shard tells its layer."""

    def ready(self, shard: Shard) -> None:
        """It can be taken from, and what was known of it before may be wrong."""

    def rung(self, shard: Shard, signature: str) -> None:
        """Something waits there for readers of this signature."""

    def recovered(self, shard: Shard, entries: list[Entry]) -> None:
        """What a take brought whose connection broke."""

    def fed(self, shard: Shard, tables: Iterable[Table]) -> None:
        """Changes to the members behind mailboxes."""

    def put_back(self, shard: Shard) -> Iterable[list[Word]]:
        """The operations that put back what this process knows of memberships."""

    def owed(self, shard: Shard) -> list[str]:
        """The store has lost all that it held: take the channels that wait for
        receipts from it, each as often as it does."""

    def still_owed(self, shard: Shard, channels: list[str]) -> None:
        """They could not be told."""

    def mailboxes(self) -> list[str]:
        """The mailboxes that are read here."""

    def flushed(self, shard: Shard) -> None:
        """Somebody has flushed the store."""


class Shard:
    """
    One server, as one layer object uses it.

    @ivar name: the server's name, the same in all processes.
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
        leases: Leases = Leases(),
        connection: Callable[..., Connection] = Connection,
        subscription: Callable[..., Subscription] = Subscription,
    ) -> None:
        """
        @param process: what this layer object is called in the store; nobody
            else ever has that name.
        @param house: is told what happens here.
        """
        self.name = server.name
        self._reactor = reactor
        self._space = space
        self._calls = Calls(space)
        self._process = process
        self._house = house
        self._leases = leases
        self._connection = connection(
            server, reactor, prepare=self._prepare, lost=self._lost, client_name="chanserv"
        )
        self._bell = subscription(
            server,
            reactor,
            channels=[space.bell(process)],
            heard=self._heard,
            ready=self._hears,
            client_name="chanserv-bell",
        )
        self.taking = False
        self.greeted = False
        self._resting: IDelayedCall | None = None
        self._beating: IDelayedCall | None = None
        self._beat_under_way = False
        # Takes: the last one's number, the last one answered, and one whose
        # answer a connection took with it.
        self._take = 0
        self._answered = 0
        self._unanswered = 0
        # What has been posted in this turn of the reactor.
        self._posts: list[Post] = []
        self._posting: IDelayedCall | None = None
        # What is to be settled and may not have been.
        self._unsettled: dict[str, str] = {}
        # What the store was told by, and which run of which server it was.
        self._born: bytes | None = None
        self._run_id: bytes | None = None
        # The server's clock less the reactor's.
        self._ahead = 0.0
        # Signatures that are known there, and since when; and those to forget.
        self._known: dict[str, float] = {}
        self._forget: list[str] = []
        self._losses = 0
        self._silent_until = 0.0
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
        self._flush_posts()
        said: Deferred[Any] = succeed(None)
        if self.greeted:
            self.greeted = False
            said = self._run(BYE, self._process)
            said.addTimeout(BYE_TIMEOUT, self._reactor)
            said.addErrback(self._unheard)
        said.addCallback(lambda _: DeferredList([self._connection.stop(), self._bell.stop()]))
        return said.addCallback(lambda _: None)

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

    def operate(self, words: Sequence[Word]) -> Deferred[list[list[Any]]]:
        """Do what C{words} say: see C{lua/operate.lua}."""
        return self._run(OPERATE, self._process, self._space.kept, *words)

    def post(self, words: Sequence[Word], count: int = 1) -> Deferred[list[list[Any]]]:
        """
        The same for what has nothing to do with groups.

        Whatever is posted in one turn of the reactor goes in one script.

        @param count: how many operations C{words} are.
        """
        posted: Deferred[list[list[Any]]] = Deferred()
        if not self._posts:
            self._posting = self._reactor.callLater(0, self._send_posts)
        self._posts.append((words, count, posted))
        if len(self._posts) >= POSTS_AT_ONCE:
            self._flush_posts()
        return posted

    def _flush_posts(self) -> None:
        """Send what has been posted, since something else is to follow it."""
        if self._posting is not None:
            self._posting.cancel()
            self._send_posts()

    def _send_posts(self) -> None:
        self._posting = None
        posts, self._posts = self._posts, []
        words: list[Word] = []
        for some, _, _ in posts:
            words += some
        words = [self._process, self._space.kept, *words]
        sending = self._calls.run(self._connection, POST, words)
        sending.addCallbacks(_posted, _not_posted, callbackArgs=(posts,), errbackArgs=(posts,))

    def run(self, program: Program, *words: Word) -> Deferred[Any]:
        """Run another of the layer's programs."""
        return self._run(program, *words)

    def call(self, *words: Word) -> Deferred[Any]:
        """Send a command."""
        self._flush_posts()
        return self._connection.call(*words)

    def _run(self, program: Program, *words: Word) -> Deferred[Any]:
        self._flush_posts()
        return self._calls.run(self._connection, program, words)

    # Takes

    def take(self, asks: Sequence[Ask]) -> Deferred[list[list[Entry]]]:
        """
        Take what waits.

        Call it while the shard is C{greeted} and not C{taking}.

        @return: fires with the entries for each of C{asks}; the store will ring
            for those that got none.  Fails with a L{ChannelLayerError}.
        """
        self.taking = True
        self._take += 1
        words: list[Word] = [self._process, self._take, round(SIGNATURE_KNOWN * 1000)]
        for signature, limit, channels in asks:
            words += (signature, limit, len(channels), *channels)
            self._known.setdefault(signature, self._reactor.seconds())
        taking = self._run(TAKE, *words)
        return taking.addCallbacks(
            self._taken, self._not_taken, callbackArgs=(self._take,), errbackArgs=(self._take,)
        )

    def _taken(self, answer: list[Any] | None, number: int) -> list[list[Entry]]:
        if answer is None:
            self._register_again()
            raise LayerUnavailable(f"Redis {self.name}: this process {_BY_MISTAKE}")
        self._answered = number
        self._set_clock(answer[0])
        if answer[1]:
            self._house.fed(self, answer[1])
        place, found = 0, []
        for raws in answer[2:]:
            found.append([read_entry(raw, number, place + n) for n, raw in enumerate(raws)])
            place += len(raws)
        return found

    def _not_taken(self, failure: Failure, number: int) -> Failure:
        if self._connection.up:
            self._log.error(
                "Redis {name} refused to be read from, and is asked again in {wait} s: {why}",
                name=self.name,
                wait=TAKE_AGAIN,
                why=failure.getErrorMessage(),
            )
        # It may be that only the answer was lost.
        self._unanswered = number
        self.greeted = False
        if self._connection.up and not self._stopping:
            self._resting = self._reactor.callLater(TAKE_AGAIN, self._rested)
        return failure

    def _rested(self) -> None:
        self._resting = None
        if self._connection.up:
            self._register_again()

    # Settling

    def settle(self, lease: str, outcome: str) -> None:
        """Settle what was taken, now or on the next connection."""
        self._unsettled[lease] = outcome
        settling = self.post(("t", lease, outcome))
        settling.addCallbacks(lambda _: self.settled((lease,)), self._unheard)

    def _settle_what_was_refused(self) -> None:
        """
        Settle what a server has refused to, say for want of memory.

        What is only on its way goes out twice by that, which does no harm.
        """
        if self._unsettled and not self._stopping:
            again = dict(self._unsettled)
            words = [word for lease, outcome in again.items() for word in ("t", lease, outcome)]
            settling = self.post(words, len(again))
            settling.addCallbacks(lambda _: self.settled(again), self._unheard)

    def will_settle(self, lease: str, outcome: str) -> tuple[Word, ...]:
        """The words that settle it; the caller sends them, and calls L{settled}."""
        self._unsettled[lease] = outcome
        return "t", lease, outcome

    def settled(self, leases: Iterable[str]) -> None:
        """Note that the store knows."""
        for lease in leases:
            self._unsettled.pop(lease, None)

    def forget(self, signature: str) -> None:
        """Nobody here reads by C{signature} any more."""
        if self._known.pop(signature, None) is not None:
            self._forget.append(signature)

    # Registering

    def _prepare(self, link: Commands) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._greet(link))

    def _register_again(self) -> None:
        """The store does not know this process, though the connection stands."""
        self.greeted = False
        if self._stopping:
            return
        greeting = Deferred.fromCoroutine(self._greet(self._connection))
        greeting.addErrback(self._unheard)

    async def _greet(self, link: Commands) -> None:
        """Register, and mend what the store has lost."""
        await self._calls.teach(link)
        answer = await self._calls.run(
            link,
            HELLO,
            (
                self._process,
                round(self._leases.reader * 1000),
                round(self._leases.owner * 1000),
                self._unanswered,
                secrets.token_hex(8),
            ),
        )
        now, known, born, raws, tables = answer
        self._set_clock(now)
        run_id = await self._ask_run_id(link)
        if self._born is not None and (not known or run_id != self._run_id):
            await self._mend(link, emptied=born != self._born)
        else:
            self._house.fed(self, tables)
        # Not before: should this connection break, the next one mends it all.
        self._born, self._run_id = born, run_id
        if known and self._unsettled:
            await self._settle_again(link)
        else:
            self._unsettled.clear()
        entries = [read_entry(raw, self._unanswered, n) for n, raw in enumerate(raws)]
        self._answered, self._unanswered = self._unanswered, 0
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

    async def _mend(self, link: Commands, emptied: bool) -> None:
        """Put back what the store has lost."""
        count = 0
        for words in self._house.put_back(self):
            await self._operate_on(link, words)
            count += words.count("j")
        what = "has come back without its data" if emptied else "had lost track of this process"
        self._log.warn(
            "Redis {name} {what}: {count} memberships have been put back",
            name=self.name,
            what=what,
            count=count,
        )
        owed = self._house.owed(self) if emptied else []
        if owed:
            await self._tell_lost(link, owed)

    async def _tell_lost(self, link: Commands, owed: list[str]) -> None:
        """Give the receipts that the store can give no more."""
        self._log.warn(
            "{count} messages that this process sent are lost with the data of Redis {name}",
            count=len(owed),
            name=self.name,
        )
        words: list[Word] = []
        for channel in owed:
            words += ("o", channel)
        try:
            await self._operate_on(link, words)
        except LayerUnavailable:
            self._house.still_owed(self, owed)
            raise

    async def _settle_again(self, link: Commands) -> None:
        again = dict(self._unsettled)
        words = [word for lease, outcome in again.items() for word in ("t", lease, outcome)]
        await self._operate_on(link, words)
        self.settled(again)

    def _operate_on(self, link: Commands, words: Sequence[Word]) -> Deferred[Any]:
        return self._calls.run(link, OPERATE, (self._process, self._space.kept, *words))

    async def _ask_run_id(self, link: Commands) -> bytes | None:
        """What tells this run of the server from others, where we may know."""
        try:
            found = re.search(rb"run_id:(\w+)", await link.call("INFO", "server"))
        except Refused:
            # A right that a user need not have.
            return None
        return found[1] if found else None

    def _lost(self) -> None:
        """The connection for commands is gone."""
        self.greeted = False
        self._losses += 1

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
        now = self._reactor.seconds()
        renewed = [one for one, at in self._known.items() if now - at >= SIGNATURE_RENEWED]
        self._known.update(dict.fromkeys(renewed, now))
        forgotten, self._forget = self._forget, []
        self._beat_under_way = True
        beating = self._run(
            BEAT,
            self._process,
            round(self._leases.reader * 1000),
            round(self._leases.owner * 1000),
            self._answered,
            round(SIGNATURE_KNOWN * 1000),
            len(renewed),
            *renewed,
            *forgotten,
        )
        return beating.addBoth(self._beaten)

    def _beaten(self, answer: Any) -> Deferred[None] | None:
        self._beat_under_way = False
        if isinstance(answer, Failure):
            self._unheard(answer)
        elif answer is None:
            if self.greeted:
                self._log.warn(
                    "this process {what} by Redis {name}", what=_BY_MISTAKE, name=self.name
                )
                self._register_again()
        else:
            self._set_clock(answer[0])
            self._settle_what_was_refused()
            if answer[1] and not self._stopping:
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
            self._unsettled.clear()
            self._house.flushed(self)
            self._ask_for_news()
        elif signature == b"members":
            self._ask_for_news()
        else:
            self._house.rung(self, signature.decode())

    def _ask_for_news(self) -> None:
        """Learn of changes to members, which else come with the next take."""
        mailboxes = self._house.mailboxes()
        if self.greeted and mailboxes:
            asking = self._run(NEWS, self._process, *mailboxes)
            asking.addCallback(lambda feeds: self._house.fed(self, feeds))
            asking.addErrback(self._unheard)

    def _unheard(self, failure: Failure) -> None:
        """
        What nobody waits for has failed: a loss of the connection is told by
        that, all else here.
        """
        if isinstance(failure.value, LayerUnavailable):
            if isinstance(failure.value, Refused) and self._reactor.seconds() >= self._silent_until:
                self._silent_until = self._reactor.seconds() + SAID_ONCE_IN
                self._log.warn("{why}", why=failure.getErrorMessage())
        else:
            self._log.failure("Redis {name} refused what it was told", failure, name=self.name)


def _posted(results: list[list[Any]], posts: list[Post]) -> None:
    """Give each post its own of the results, by its own count of places."""
    if not results:
        for _, _, posted in posts:
            posted.callback(results)
        return
    start = at = 0
    for _, count, posted in posts:
        mine = []
        while at < len(results) and results[at][0] < start + count:
            mine.append([results[at][0] - start, *results[at][1:]])
            at += 1
        start += count
        posted.callback(mine)


def _not_posted(failure: Failure, posts: list[Post]) -> None:
    for _, _, posted in posts:
        posted.errback(failure)
