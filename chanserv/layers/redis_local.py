"""Redis between machines, and IPC for what can stay on one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred

from chanserv.core.capacity import CAPACITY, MAILBOX_CAPACITY, Rules
from chanserv.core.defaults import EXPIRY, GROUP_EXPIRY, MAX_MESSAGE_SIZE
from chanserv.core.patterns import Pattern
from chanserv.layers.ipc.layer import IPCChannelLayer
from chanserv.layers.local import SplitChannelLayer, SplitDelivery
from chanserv.layers.redis.addresses import Host, servers_from_config
from chanserv.layers.redis.layer import RedisChannelLayer
from chanserv.layers.redis.leases import OWNER_LEASE, READER_LEASE
from chanserv.layers.redis.space import PREFIX
from chanserv.messages import Delivery


class RedisLocalChannelLayer(SplitChannelLayer):
    """
    Ordinary channels over IPC; process-specific and single-reader channels and
    groups over Redis.

    So each machine's requests are answered by its own workers, and replies and
    groups find every process.
    """

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
        directory: str | None = None,
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
        guest: bool = False,
    ) -> None:
        """
        @param reactor: what both live on.
        @param directory: where the processes of this machine meet; see
            L{IPCChannelLayer}.
        @param guest: whether to leave hosting to other processes; as there.

        All else is as for L{RedisChannelLayer}.  What is said of channels and
        messages counts on both sides.
        @raise ConfigurationError: a value is out of range.
        """
        redeliver = None if redeliver is None else list(redeliver)
        common: dict[str, Any] = {
            "expiry": expiry,
            "group_expiry": group_expiry,
            "capacity": capacity,
            "channel_capacity": channel_capacity,
            "mailbox_capacity": mailbox_capacity,
            "max_message_size": max_message_size,
            "redeliver": redeliver,
        }
        servers = servers_from_config(hosts, sentinels, services, connection_kwargs)
        rest = RedisChannelLayer(
            reactor=reactor,
            hosts=servers,
            prefix=prefix,
            stats_prefix=stats_prefix,
            symmetric_encryption_keys=symmetric_encryption_keys,
            reader_lease=reader_lease,
            owner_lease=owner_lease,
            **common,
        )
        ordinary = IPCChannelLayer(
            reactor,
            prefix=local_name(prefix, [server.name for server in servers]),
            directory=directory,
            guest=guest,
            **common,
        )
        super().__init__(ordinary, rest)

    @classmethod
    def for_reactor(cls, reactor: Any, **config: Any) -> RedisLocalChannelLayer:
        """Make one for a process; see the class."""
        return cls(reactor=reactor, **config)

    @classmethod
    def for_guest(cls, reactor: Any, **config: Any) -> RedisLocalChannelLayer:
        """Make one for a process that should not host the hub if others can."""
        return cls(reactor=reactor, **{"guest": True, **config})

    def rather_be_a_guest(self) -> None:
        """See L{IPCChannelLayer}."""
        ordinary: Any = self._ordinary
        ordinary.rather_be_a_guest()

    def never_be_the_host(self) -> None:
        """See L{IPCChannelLayer}."""
        ordinary: Any = self._ordinary
        ordinary.never_be_the_host()

    def receive_now(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        """
        Take what is there, perhaps nothing.

        @return: fires with at most C{limit} deliveries.
        """
        found: list[Delivery] = []

        def keep(deliveries: list[Delivery], side: Any) -> list[Delivery]:
            found.extend(SplitDelivery(side, one) for one in deliveries)
            return found

        def ask_the_other(_: object) -> Any:
            if len(found) >= limit:
                return found
            other: Any = self._ordinary
            left = limit - len(found)
            return other.receive_now(channels, left).addCallback(keep, other)

        first: Any = self._rest
        asked: Deferred[Any] = first.receive_now(channels, limit)
        return asked.addCallback(keep, first).addCallback(ask_the_other)


def local_name(prefix: str, servers: Iterable[str]) -> str:
    """
    The name by which the processes of one machine meet.

    Sites that use one prefix on different servers are different layers; so the
    servers are part of it.
    """
    digest = sha256("\n".join(servers).encode()).hexdigest()[:8]
    return f"{prefix.replace(':', '')}-{digest}"
