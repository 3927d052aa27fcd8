"""A connection that listens to what is published on a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import random as random_fraction
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from chanserv.errors import ChannelLayerError
from chanserv.layers.redis.connection import Commands, Connection, Limits
from chanserv.layers.redis.limits import DEFAULT_LIMITS
from chanserv.layers.redis.links import bell_class
from chanserv.layers.redis.protocol import Link
from chanserv.layers.redis.refusals import Refused
from chanserv.layers.redis.server import Server

PING_INTERVAL: Final = 5.0
"""Seconds between two questions whether the server is still there: on a connection that
only listens, silence says nothing."""


class Subscription(Connection):
    """
    The channels of a server that this process has subscribed to.

    It takes no commands but C{SUBSCRIBE}, C{UNSUBSCRIBE} and C{PING}, each for
    one channel, and is I{up} when the server has confirmed all its channels.
    """

    def __init__(
        self,
        server: Server,
        reactor: Any,
        *,
        channels: Sequence[str | bytes],
        heard: Callable[[bytes, bytes], None],
        ready: Callable[[], None] | None = None,
        beside: Connection | None = None,
        lost: Callable[[], None] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        reports: bool = False,
        client_name: str = "chanserv-bell",
        by_hiredis: bool | None = None,
        random: Callable[[], float] = random_fraction,
        ping_interval: float = PING_INTERVAL,
    ) -> None:
        """
        @param channels: what to subscribe to, on each new connection.
        @param heard: called with the channel and with what was published there.
        @param ready: called each time that it comes to be up: what was
            published while it was not has been missed.
        @param beside: the connection for commands to the same server: while that
            is not up either, it is the one to say what the server refuses.
        @param ping_interval: seconds between two questions whether the server
            is still there.

        The others are those of L{Connection}.
        """
        self._channels = tuple(channels)
        self._heard = heard
        self._ready = ready
        self._beside = beside
        self._ping_interval = ping_interval
        self._next_ping: IDelayedCall | None = None
        super().__init__(
            server,
            reactor,
            prepare=self._subscribe,
            lost=lost,
            limits=limits,
            reports=reports,
            client_name=client_name,
            by_hiredis=by_hiredis,
            random=random,
        )

    def _choose_link_class(self, by_hiredis: bool | None) -> type[Link]:
        return bell_class(by_hiredis)

    def _build_link(self) -> Link:
        link: Any = super()._build_link()
        link.heard = self._heard
        built: Link = link
        return built

    def _subscribe(self, link: Commands) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._subscribe_to_each(link))

    async def _subscribe_to_each(self, link: Commands) -> None:
        # One command for each, since each is answered by itself.
        for answer in [link.call("SUBSCRIBE", channel) for channel in self._channels]:
            await answer

    def _reached(self) -> None:
        super()._reached()
        self._next_ping = self._reactor.callLater(self._ping_interval, self._ping)
        if self._ready is not None:
            self._ready()

    def _say_down(self, error: ChannelLayerError) -> None:
        # What is left unsaid is said at a later attempt, if it is for this one alone.
        if self._beside is None or self._beside.up or not isinstance(error, Refused):
            super()._say_down(error)

    def _ping(self) -> None:
        self._next_ping = self._reactor.callLater(self._ping_interval, self._ping)
        # An answer that does not come ends the connection, which says so.
        self.call("PING").addErrback(lambda _: None)

    def _link_ended(self, link: Link, why: Any) -> None:
        if link is self._link:
            self._stop_pings()
        super()._link_ended(link, why)

    def stop(self) -> Deferred[None]:
        """See L{Connection.stop}."""
        self._stop_pings()
        return super().stop()

    def _stop_pings(self) -> None:
        if self._next_ping is not None:
            self._next_ping.cancel()
            self._next_ping = None
