"""
Finding a server through its sentinels.

Each connection begins with the question where the master is, so that after a
fail-over the next attempt reaches the new one.  Sentinels are asked in turn,
the one that answered last first; one that is gone costs L{ANSWER_TIMEOUT}.

Whether what they name is a master at all is seen when it is greeted, like
with any server: for a moment they may still name the old one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from chanserv.errors import ChannelLayerError, LayerUnavailable
from chanserv.layers.redis.endpoints import connected, tcp_endpoint, unix_endpoint, why_not_reached
from chanserv.layers.redis.links import LinkFactory, link_class
from chanserv.layers.redis.protocol import Link
from chanserv.layers.redis.server import Address, Server, Watched, shown_address

ANSWER_TIMEOUT: Final = 1.0
"""Seconds that one sentinel is given, from the connection to its answer: it does hardly
any work, and there are others to ask."""


def endpoint_of(server: Server, reactor: Any, by_hiredis: bool | None = None) -> Any:
    """
    The endpoint of a server, however it is reached.

    @raise ConfigurationError: a file for TLS cannot be used.
    """
    if server.watched is not None:
        return SentinelEndpoint(server, reactor, by_hiredis)
    if server.path is not None:
        return unix_endpoint(server, reactor)
    return tcp_endpoint((server.host, server.port), server.tls, reactor, server.connect_timeout)


class SentinelLinks:
    """Makes connections to sentinels."""

    def __init__(
        self, watched: Watched, reactor: Any, link_class: type[Link], timeout: float
    ) -> None:
        """
        @param timeout: seconds for a connection to stand, and for each answer.
        """
        self._watched = watched
        self._reactor = reactor
        self._link_class = link_class
        self._timeout = timeout
        self._endpoints = {
            address: tcp_endpoint(address, watched.tls, reactor, timeout)
            for address in watched.sentinels
        }

    async def reach(
        self, sentinel: Address, ended: Callable[[LayerUnavailable], None] = lambda _: None
    ) -> Any:
        """
        Connect to one, and log in where a password is set.

        @param ended: called when the link is gone.
        @return: the link.
        """
        name = f"sentinel {shown_address(sentinel)}"
        factory = LinkFactory(
            lambda: self._link_class(name, self._reactor, self._timeout, ended=ended)
        )
        link = await connected(self._endpoints[sentinel], factory)
        if self._watched.password is not None:
            user = [] if self._watched.username is None else [self._watched.username]
            try:
                await link.call("AUTH", *user, self._watched.password)
            except BaseException:
                link.abort("logging in failed")
                raise
        return link

    def ask(self, sentinel: Address) -> Deferred[Address | None]:
        """
        Ask one where the master is.

        @return: fires with the address, or with L{None} if it does not know;
            or fails, in time.
        """
        asked = Deferred.fromCoroutine(self._ask(sentinel))
        asked.addTimeout(self._timeout, self._reactor)
        return asked

    async def _ask(self, sentinel: Address) -> Address | None:
        link = await self.reach(sentinel)
        try:
            found = await link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._watched.service)
        finally:
            link.abort("asked")
        return None if found is None else (found[0].decode(), int(found[1]))


@implementer(IStreamClientEndpoint)
class SentinelEndpoint:
    """
    Connects to the master of a service.

    @ivar master: the last one that it has connected to, or tried to.
    """

    def __init__(
        self,
        server: Server,
        reactor: Any,
        by_hiredis: bool | None = None,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        """
        @param server: one that is watched.
        @param answer_timeout: seconds that one sentinel is given.
        @raise ConfigurationError: a file for TLS cannot be used.
        """
        assert server.watched is not None
        self._server = server
        self._watched: Watched = server.watched
        self._reactor = reactor
        self._sentinels = list(self._watched.sentinels)
        self._links = SentinelLinks(self._watched, reactor, link_class(by_hiredis), answer_timeout)
        self.master: Address | None = None
        if server.tls is not None:
            # See now, and not when it is needed, whether its files can be used.
            tcp_endpoint(("localhost", 0), server.tls, reactor, answer_timeout)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See L{IStreamClientEndpoint}.

        It fails with a L{LayerUnavailable} where no sentinel names a master.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        address = self.master = await self._master()
        server = replace(self._server, watched=None, host=address[0], port=address[1])
        endpoint = tcp_endpoint(address, server.tls, self._reactor, server.connect_timeout)
        protocol: IProtocol = await connected(endpoint, factory)
        return protocol

    async def _master(self) -> Address:
        answers: list[str] = []
        for sentinel in tuple(self._sentinels):
            asked = self._links.ask(sentinel)
            try:
                master = await asked
            except CancelledError:
                raise
            except Exception as error:
                answers.append(f"{shown_address(sentinel)}: {_in_short(error)}")
                continue
            if master is None:
                answers.append(
                    f"{shown_address(sentinel)} knows no service {self._watched.service!r}"
                )
                continue
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            return master
        raise LayerUnavailable(
            f"Redis {self._server.name}: no sentinel names its master ({'; '.join(answers)})"
        )


def _in_short(error: Exception) -> str:
    if isinstance(error, ChannelLayerError):
        return str(error)
    return why_not_reached(Failure(error))  # type: ignore[no-untyped-call]
