"""
The Redis layer: many processes and machines on one store, or on several.

All that must not be torn apart is done by scripts on the servers (see C{lua/}),
by the servers' clocks; what is kept here is what this process waits for
(L{chanserv.layers.redis.receiving}), where things go
(L{chanserv.layers.redis.sending}), and what it knows of the members behind its
own mailboxes, to put it back when a store has lost it
(L{chanserv.layers.redis.mirrors}).
"""

from __future__ import annotations

import secrets
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer

from chanserv.codec import Codec
from chanserv.core.capacity import (
    CAPACITY,
    MAILBOX_CAPACITY,
    Capacities,
    Rules,
    checked_count,
    checked_seconds,
)
from chanserv.core.defaults import EXPIRY, GROUP_EXPIRY, MAX_MESSAGE_SIZE
from chanserv.core.outstanding import Outstanding
from chanserv.core.patterns import Pattern, RedeliveredNames
from chanserv.core.ring import Ring
from chanserv.errors import (
    ChannelLayerError,
    ConfigurationError,
    LayerUnavailable,
)
from chanserv.interfaces import IChannelLayer
from chanserv.layers.redis.addresses import Host, servers_from_config
from chanserv.layers.redis.books import flush, statistics
from chanserv.layers.redis.house import House
from chanserv.layers.redis.leases import OWNER_LEASE, READER_LEASE, Leases
from chanserv.layers.redis.memberships import Memberships
from chanserv.layers.redis.mirrors import Mirrors
from chanserv.layers.redis.places import Mailboxes, Places
from chanserv.layers.redis.preparing import Preparing
from chanserv.layers.redis.receiving import Receiving
from chanserv.layers.redis.sending import Sending
from chanserv.layers.redis.shard import Shard
from chanserv.layers.redis.space import PREFIX, Space
from chanserv.layers.redis.turns import Turns, all_done
from chanserv.messages import Delivery, Message, Operation, Outcome
from chanserv.names import (
    check_all_receivable,
    check_channel,
    check_group,
    made_up,
    mailbox_of,
)

T = TypeVar("T")


@implementer(IChannelLayer)
class RedisChannelLayer:
    """
    A channel layer in one Redis server, or spread over several.

    It connects with its first use.
    """

    extensions = frozenset({"groups", "flush", "statistics"})
    settles = True

    _log = Logger(namespace="chanserv.redis")

    def __init__(
        self,
        *,
        reactor: Any,
        hosts: Sequence[Host] | None = None,
        sentinels: Sequence[Host] | None = None,
        services: Sequence[str] | None = None,
        connection_kwargs: Mapping[str, Any] | None = None,
        prefix: str = PREFIX,
        stats_prefix: str | None = None,
        expiry: float = EXPIRY,
        group_expiry: float = GROUP_EXPIRY,
        capacity: int = CAPACITY,
        channel_capacity: Rules | None = None,
        mailbox_capacity: int = MAILBOX_CAPACITY,
        max_message_size: int = MAX_MESSAGE_SIZE,
        redeliver: Iterable[Pattern] | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        reader_lease: float = READER_LEASE,
        owner_lease: float = OWNER_LEASE,
    ) -> None:
        """
        @param reactor: what the connections live on.
        @param hosts: the servers: URLs, or pairs of a host and a port.  Several
            are shards, and all processes name the same.
        @param sentinels: in place of C{hosts}: where Sentinel listens.
        @param services: what Sentinel calls the servers.
        @param connection_kwargs: options of all servers, as redis-py names them.
        @param prefix: what all keys begin with; layers with different ones
            share a server without knowing of each other.
        @param stats_prefix: what the keys of statistics begin with; C{stats:}
            behind C{prefix} if it is not given.
        @param expiry: seconds after which an unread message is dropped.
        @param group_expiry: seconds after which a member leaves its group.
        @param capacity: messages that an ordinary or single-reader channel holds.
        @param channel_capacity: exceptions, by glob or compiled regular
            expression; see L{Capacities}.
        @param mailbox_capacity: deliveries that the mailbox of a
            process-specific channel holds.
        @param max_message_size: bytes that one message may hold.
        @param redeliver: the channels, by glob or compiled regular expression,
            whose messages go to another reader when their reader dies.
        @param symmetric_encryption_keys: secrets; the first encrypts, all decrypt.
        @param reader_lease: seconds after which what a process has not settled
            is lost, when it gives no sign of life.
        @param owner_lease: seconds after which the mailboxes of such a process
            end, with the memberships behind them.
        @raise ConfigurationError: a value is out of range.
        """
        self.expiry = checked_seconds("expiry", expiry)
        self.group_expiry = checked_seconds("group_expiry", group_expiry)
        servers = servers_from_config(hosts, sentinels, services, connection_kwargs)
        keys = symmetric_encryption_keys or ()
        codec = Codec(keys)
        space = Space(
            _checked_prefix("prefix", prefix),
            _checked_prefix("stats_prefix", stats_prefix) if stats_prefix is not None else None,
            self.expiry,
            self.group_expiry,
            keys,
            self.clock_offset,
        )
        leases = Leases(
            checked_seconds("reader_lease", reader_lease),
            checked_seconds("owner_lease", owner_lease),
        )
        self._space = space
        self.process = secrets.token_hex(8)
        ring = Ring([server.name for server in servers])
        turns = Turns()
        self._outstanding = Outstanding()
        mirrors = Mirrors(ring.owner)
        mailboxes = Mailboxes(
            Capacities(capacity, mailbox_capacity, channel_capacity),
            RedeliveredNames(redeliver),
        )
        self._receiving = Receiving(reactor, codec, mirrors, self._outstanding)
        house = House(self._receiving, mirrors, self._outstanding, mailboxes.of)
        self._shards = [
            Shard(server, reactor, space, self.process, house, leases) for server in servers
        ]
        self._receiving.use(self._shards)
        places = Places(ring, self._shards)
        size = checked_count("max_message_size", max_message_size)
        preparing = Preparing(places, mailboxes, space, codec, size)
        self._sending = Sending(places, preparing, turns, self._outstanding, self._receiving.reads)
        self._memberships = Memberships(places, mailboxes, space, turns)
        self._started = False
        self._closing: Deferred[None] | None = None

    @classmethod
    def for_reactor(cls, reactor: Any, **config: Any) -> RedisChannelLayer:
        """
        Make one for a process.

        @param reactor: its reactor.
        @param config: as to the class.
        """
        return cls(reactor=reactor, **config)

    def clock_offset(self) -> int:
        """Milliseconds to add to the servers' clocks: for a test to override."""
        return 0

    # Sending

    def send(self, channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        """See L{IChannelLayer}."""
        try:
            self._begin()
            return self._sending.send(channel, message, receipt)
        except ChannelLayerError as error:
            return fail(error)

    def send_batch(
        self, operations: Sequence[Operation], settled: Sequence[Delivery] = ()
    ) -> Deferred[list[ChannelLayerError | None]]:
        """
        See L{IChannelLayer}.

        With one shard, it is one step of the server, done or not as a whole.
        """
        try:
            self._begin()
        except ChannelLayerError as error:
            return fail(error)
        leases = self._gather(settled)
        if not operations and not leases:
            return succeed([])
        return Deferred.fromCoroutine(self._sending.send_batch(operations, leases))

    def _gather(self, settled: Sequence[Delivery]) -> list[tuple[Shard, str, Outcome]]:
        """Settle deliveries, but have their leases instead of telling the shards."""
        gathered: list[tuple[Shard, str, Outcome]] = []
        self._receiving.gathered = gathered
        try:
            for delivery in settled:
                delivery.settle()
        finally:
            self._receiving.gathered = None
        return gathered

    def send_group(self, group: str, message: Message) -> Deferred[None]:
        """See L{IChannelLayer}."""
        return self._result(self._sending.send_group(group, message))

    # Receiving

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        """See L{IChannelLayer}."""
        try:
            names = check_all_receivable(channels)
            self._begin()
        except ChannelLayerError as error:
            return fail(error)
        if limit < 1:
            return fail(ValueError(f"limit must be at least 1, not {limit!r}"))
        return self._receiving.receive(names, limit)

    def receive_now(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        """
        As L{receive}, for those who do not wait.

        @return: fires with no delivery at all where nothing is there.  Fails
            with L{LayerUnavailable} when no shard can be reached.
        """
        return self._result(self._receive_now(channels, limit))

    async def _receive_now(self, channels: Sequence[str], limit: int) -> list[Delivery]:
        names = check_all_receivable(channels)
        found = await DeferredList([one.reached() for one in self._shards], consumeErrors=True)
        reached = [shard for shard, (there, _) in zip(self._shards, found, strict=True) if there]
        if not reached:
            raise found[0][1].value
        return await self._receiving.receive(names, limit, reached)

    def new_channel(self, pattern: str) -> Deferred[str]:
        """See L{IChannelLayer}: no server need be asked."""
        try:
            self._begin()
            return succeed(made_up(pattern))
        except ChannelLayerError as error:
            return fail(error)

    # Groups

    def group_add(self, group: str, channel: str) -> Deferred[None]:
        """See L{IChannelLayer}."""
        try:
            self._begin()
            return self._memberships.add(check_group(group), check_channel(channel))
        except ChannelLayerError as error:
            return fail(error)

    def group_discard(self, group: str, channel: str) -> Deferred[None]:
        """See L{IChannelLayer}."""
        try:
            self._begin()
            return self._memberships.discard(check_group(group), check_channel(channel))
        except ChannelLayerError as error:
            return fail(error)

    def group_channels(self, group: str) -> Deferred[list[str]]:
        """See L{IChannelLayer}."""
        try:
            return self._result(self._memberships.of(check_group(group)))
        except ChannelLayerError as error:
            return fail(error)

    # Statistics and the end

    def global_statistics(self) -> Deferred[Mapping[str, int]]:
        """See L{IChannelLayer}."""
        return self._result(statistics(self._shards, ""))

    def channel_statistics(self, channel: str) -> Deferred[Mapping[str, int]]:
        """
        See L{IChannelLayer}.

        They are kept for an hour after the channel was last empty.
        """
        try:
            check_channel(channel)
        except ChannelLayerError as error:
            return fail(error)
        return self._result(statistics(self._shards, mailbox_of(channel)))

    def flush(self) -> Deferred[None]:
        """
        See L{IChannelLayer}.

        The messages that are forgotten give no receipts.
        """
        return self._result(self._flush())

    async def _flush(self) -> None:
        await flush(self._shards, self._space)
        self._outstanding.clear()

    def close(self) -> Deferred[None]:
        """
        See L{IChannelLayer}.

        Whatever was not settled is lost, or redelivered, as if this process had
        died; and the mailboxes that it read end.
        """
        if self._closing is None:
            self._closing = Deferred.fromCoroutine(self._close())
            # Each who asks has his own.
            self._closing.addErrback(
                lambda failure: self._log.failure("the layer did not close well", failure)
            )
        done: Deferred[None] = Deferred()
        self._closing.addCallback(lambda _: done.callback(None))
        return done

    async def _close(self) -> None:
        if self._started:
            await self._receiving.close(_closed)
            await all_done([shard.stop() for shard in self._shards])

    # Inside

    def _begin(self) -> None:
        """Connect, the first time; refuse, after the end."""
        if self._closing is not None:
            raise _closed()
        if not self._started:
            self._started = True
            for shard in self._shards:
                shard.start()

    def _result(self, coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
        try:
            self._begin()
        except ChannelLayerError as error:
            coroutine.close()
            return fail(error)
        return Deferred.fromCoroutine(coroutine)


def _closed() -> LayerUnavailable:
    return LayerUnavailable("this channel layer has been closed: make another")


def _checked_prefix(option: str, value: object) -> str:
    if not isinstance(value, str) or not value or any(mark.isspace() for mark in value):
        raise ConfigurationError(f"{option} must be text without spaces, not {value!r}")
    return value
