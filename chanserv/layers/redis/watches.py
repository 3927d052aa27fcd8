"""
Who waits in this process: receives, and what they have in common.

All receives that name the same channels share one I{watch}, known in the stores
by its I{signature}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

from chanserv.layers.redis.entry import Entry
from chanserv.messages import Delivery

if TYPE_CHECKING:
    from chanserv.layers.redis.shard import Shard

MOST_WANTED: Final = 10_000
"""Entries that one take asks for, however many its receives could use: the
capacity of a mailbox."""

IDLE: Final = 64
"""Watches from which on one without receives is forgotten when another comes.  Those
who receive the same channels again and again are known in the stores already."""


class Receive:
    """
    Somebody who waits.

    @ivar unasked: the shards that are still to be asked before it gives up;
        L{None} for one that waits as long as it takes.
    """

    __slots__ = ("deferred", "limit", "unasked")

    def __init__(self, limit: int, unasked: set[Shard] | None) -> None:
        self.limit = limit
        self.unasked = unasked
        self.deferred: Deferred[list[Delivery]]


class Watch:
    """
    The receives of one set of channels.

    @ivar channels: what they read, those taken from least recently first.
    @ivar receives: who waits, in the order of their coming.
    @ivar armed: the shards that had nothing, and will ring.
    @ivar rung: those that have rung since they were last asked.
    @ivar asking: whether a shard is being asked.
    """

    __slots__ = ("armed", "asking", "channels", "receives", "rung", "signature")

    def __init__(self, signature: str, channels: Iterable[str]) -> None:
        self.signature = signature
        self.channels = list(channels)
        self.receives: dict[Receive, None] = {}
        self.armed: set[Shard] = set()
        self.rung: set[Shard] = set()
        self.asking = False

    @property
    def wanted(self) -> int:
        """How many entries its receives can use."""
        return min(MOST_WANTED, sum(receive.limit for receive in self.receives))

    def turn(self, entries: Iterable[Entry]) -> None:
        """Look last, the next time, where C{entries} came from."""
        if len(self.channels) > 1:
            for mailbox in dict.fromkeys(entry.mailbox for entry in entries):
                self.channels.remove(mailbox)
                self.channels.append(mailbox)


class Watches:
    """
    All watches of one layer object.

    Iterated over, it gives each, those that have been used last at the end.
    """

    def __init__(self, forgotten: Callable[[Watch], None]) -> None:
        """
        @param forgotten: told of each watch that is dropped.
        """
        self._forgotten = forgotten
        self._by_channels: dict[frozenset[str], Watch] = {}
        self._by_signature: dict[str, Watch] = {}

    def __len__(self) -> int:
        return len(self._by_channels)

    def __iter__(self) -> Iterator[Watch]:
        return iter(list(self._by_channels.values()))

    def of(self, channels: Sequence[str]) -> Watch:
        """The watch for C{channels}."""
        names = frozenset(channels)
        watch = self._by_channels.pop(names, None)
        if watch is None:
            if len(self._by_channels) >= IDLE:
                self._forget_idle()
            text = "\n".join(sorted(names))
            signature = blake2b(text.encode(), digest_size=12).hexdigest()
            watch = self._by_signature[signature] = Watch(signature, dict.fromkeys(channels))
        self._by_channels[names] = watch
        return watch

    def by_signature(self, signature: str) -> Watch | None:
        """The watch that is rung by C{signature}, if it is known yet."""
        return self._by_signature.get(signature)

    def waiting_for(self, mailbox: str) -> Watch | None:
        """A watch in which somebody waits for C{mailbox}."""
        for names, watch in self._by_channels.items():
            if watch.receives and mailbox in names:
                return watch
        return None

    def read(self, mailbox: str) -> bool:
        """Whether C{mailbox} is read here, or was lately."""
        return any(mailbox in names for names in self._by_channels)

    def _forget_idle(self) -> None:
        """Forget the watch that has been without receives for longest."""
        for names, watch in self._by_channels.items():
            if not watch.receives and not watch.asking and not watch.rung:
                del self._by_channels[names]
                del self._by_signature[watch.signature]
                self._forgotten(watch)
                return
