from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from chanserv.layers.redis.hosts import HostEndpoint


@implementer(IHostnameResolver)
class Names:
    """
    Knows one set of addresses.

    @ivar waits: whether it never says that these are all.
    """

    def __init__(self, addresses: Sequence[Any], waits: bool = False) -> None:
        self.addresses = addresses
        self.waits = waits
        self.asked: list[str] = []

    def resolveHostName(self, receiver: Any, hostName: str, *args: Any) -> Any:
        self.asked.append(hostName)
        receiver.resolutionBegan(self)
        for address in self.addresses:
            receiver.addressResolved(address)
        if not self.waits:
            receiver.resolutionComplete()
        return self


class AHostIsReachedAtItsAddresses(TestCase):
    def reached(self, host: str, names: Names) -> Any:
        self.reactor = MemoryReactorClock()
        self.reactor.nameResolver = names  # type: ignore[assignment, misc]
        endpoint = HostEndpoint(self.reactor, host, 7000, 5.0)
        return endpoint.connect(Factory.forProtocol(Protocol))

    def clients(self) -> list[tuple[str, int, float]]:
        return [(host, port, timeout) for host, port, _, timeout, _ in self.reactor.tcpClients]

    def fail(self, at: int) -> None:
        self.reactor.tcpClients[at][2].clientConnectionFailed(None, _refused())

    def test_at_an_address_nobody_is_asked_for_it(self) -> None:
        for host in ("127.0.0.1", "::1"):
            names = Names([])
            connecting = self.reached(host, names)
            self.assertEqual((names.asked, self.clients()), ([], [(host, 7000, 5.0)]))
            connecting.cancel()
            connecting.addErrback(lambda _: None)

    def test_at_the_next_where_one_refuses(self) -> None:
        found = [IPv6Address("TCP", "::1", 7000), IPv4Address("TCP", "127.0.0.1", 7000)]
        names = Names(found)
        connecting = self.reached("redis.example", names)
        self.assertEqual(names.asked, ["redis.example"])
        self.fail(0)
        self.assertEqual([host for host, _, _ in self.clients()], ["::1", "127.0.0.1"])
        factory = self.reactor.tcpClients[1][2]
        factory.buildProtocol(None).makeConnection(None)
        self.assertIsInstance(self.successResultOf(connecting), Protocol)

    def test_the_last_failure_is_told(self) -> None:
        connecting = self.reached("a", Names([IPv4Address("TCP", "127.0.0.1", 7000)]))
        self.fail(0)
        self.failureResultOf(connecting, ConnectionRefusedError)

    def test_a_name_without_addresses_is_told(self) -> None:
        failure = self.failureResultOf(self.reached("nowhere", Names([])), DNSLookupError)
        self.assertIn("nowhere has no address", str(failure.value))

    def test_a_look_up_can_be_cancelled(self) -> None:
        connecting = self.reached("a", Names([], waits=True))
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertEqual(self.clients(), [])


def _refused() -> Any:
    from twisted.python.failure import Failure

    return Failure(ConnectionRefusedError("refused"))
