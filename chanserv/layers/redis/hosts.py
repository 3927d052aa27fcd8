"""
Connections to a host by its name.

Twisted's own C{HostnameEndpoint} would do, but that it installs the process's
global reactor on the way, whichever reactor it is given: a layer on a private
one must leave that choice to its program.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from zope.interface import implementer


@implementer(IStreamClientEndpoint)
class HostEndpoint:
    """Connects to the first of a host's addresses that answers."""

    def __init__(self, reactor: Any, host: str, port: int, timeout: float) -> None:
        """
        @param host: a name, or an address of either kind.
        @param timeout: seconds for each address.
        """
        self._reactor = reactor
        self._host = host
        self._port = port
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See L{IStreamClientEndpoint}.

        @return: fails with what the last address failed with, or with
            L{DNSLookupError} where there is none.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        last: Exception = DNSLookupError(f"{self._host} has no address")
        for address in await self._addresses():
            kind = TCP6ClientEndpoint if isIPv6Address(address) else TCP4ClientEndpoint
            endpoint: Any = kind(self._reactor, address, self._port, self._timeout)
            try:
                connected: IProtocol = await endpoint.connect(factory)
            except ConnectError as error:
                last = error
            else:
                return connected
        raise last

    async def _addresses(self) -> list[str]:
        if isIPAddress(self._host) or isIPv6Address(self._host):
            return [self._host]
        found = _Found()
        self._reactor.nameResolver.resolveHostName(found, self._host, self._port)
        return await found.addresses


@implementer(IResolutionReceiver)
class _Found:
    """
    What a look-up finds.

    @ivar addresses: fires with all of it.
    """

    def __init__(self) -> None:
        self.addresses: Deferred[list[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """See L{IResolutionReceiver}."""

    def addressResolved(self, address: IAddress) -> None:
        """See L{IResolutionReceiver}."""
        if isinstance(address, (IPv4Address, IPv6Address)):
            self._found.append(address.host)

    def resolutionComplete(self) -> None:
        """See L{IResolutionReceiver}."""
        if not self.addresses.called:
            self.addresses.callback(self._found)
