"""What has arrived at the machine and has not been looked at, on real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import tcp, unix
from twisted.internet.abstract import FileDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from chanserv.server.arrivals import (
    DOORSTEP,
    accept_waiting,
    has_unread,
    is_own,
    keep_newcomers_away,
)


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Noting(Factory):
    """Makes protocols, and keeps them."""

    def __init__(self, stack: ExitStack) -> None:
        self.made: list[Protocol] = []
        self.stack = stack

    def buildProtocol(self, addr: object) -> Protocol:
        factory = self

        class Accepted(Protocol):
            def makeConnection(self, transport: Any) -> None:
                factory.stack.callback(transport.socket.close)
                super().makeConnection(transport)

        self.made.append(Accepted())
        return self.made[-1]


def listening(port: Any, cleanup: ExitStack) -> Any:
    port.startListening()
    cleanup.callback(port.socket.close)
    return port


def client_of(address: Any, family: int, cleanup: ExitStack) -> socket.socket:
    client = cleanup.enter_context(socket.socket(family, socket.SOCK_STREAM))
    client.connect(address)
    return client


@pytest.fixture
def port(cleanup: ExitStack) -> Any:
    reactor = MemoryReactorClock()
    return listening(tcp.Port(0, Noting(cleanup), 500, "127.0.0.1", reactor), cleanup)


def test_all_connections_that_wait_are_accepted(port: Any, cleanup: ExitStack) -> None:
    for _ in range(250):
        client_of(port.socket.getsockname(), socket.AF_INET, cleanup)
    assert accept_waiting(port) == 250
    assert len(port.factory.made) == 250
    assert accept_waiting(port) == 0


def test_a_newcomer_over_tcp_has_no_answer_and_those_before_it_are_served(
    port: Any, cleanup: ExitStack
) -> None:
    address = port.socket.getsockname()
    early = client_of(address, socket.AF_INET, cleanup)
    assert keep_newcomers_away(port) == DOORSTEP
    late = cleanup.enter_context(socket.socket())
    late.settimeout(0.2)
    with pytest.raises(TimeoutError):
        late.connect(address)
    assert accept_waiting(port) == 1
    early.sendall(b"hello")
    [protocol] = port.factory.made
    connection = protocol.transport.socket
    connection.settimeout(30)
    assert connection.recv(10) == b"hello"
    connection.sendall(b"hello yourself")
    early.settimeout(30)
    assert early.recv(20) == b"hello yourself"


def test_a_newcomer_at_a_unix_socket_is_refused_and_those_before_it_are_served(
    cleanup: ExitStack, tmp_path: Path
) -> None:
    path = str(tmp_path / "s")
    port = listening(
        unix.Port(path.encode(), Noting(cleanup), reactor=MemoryReactorClock()), cleanup
    )
    client_of(path, socket.AF_UNIX, cleanup)
    assert keep_newcomers_away(port) == 0
    with pytest.raises(ConnectionRefusedError):
        client_of(path, socket.AF_UNIX, cleanup)
    assert accept_waiting(port) == 1


def test_a_port_of_another_kind_is_left_alone() -> None:
    assert keep_newcomers_away(object()) == 0
    assert accept_waiting(object()) == 0


@pytest.mark.parametrize(
    ("description", "own"),
    [
        ("tcp:8000", True),
        ("tcp6:8000:interface=\\:\\:1", True),
        ("ssl:443:privateKey=a:certKey=b", True),
        ("unix:/run/site.sock", True),
        ("haproxy:tcp:8000", True),
        ("haproxy:unix:/run/site.sock", True),
        ("systemd:domain=INET:index=0", False),
        ("haproxy:systemd:domain=INET:index=0", False),
        ("fd:3", False),
        ("onion:80", False),
        ("tcp:\\", False),
    ],
)
def test_a_socket_that_was_lent_is_not_closed_to_newcomers(description: str, own: bool) -> None:
    assert is_own(description) is own


class Connection(FileDescriptor):
    """A transport with a real socket."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(MemoryReactorClock())  # type: ignore[no-untyped-call]
        self.socket = connection


def test_bytes_that_have_arrived_are_seen_and_stay() -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        transport = Connection(ours)
        assert not has_unread(transport)
        theirs.sendall(b"hello")
        assert has_unread(transport)
        assert ours.recv(10) == b"hello"
        assert not has_unread(transport)
        theirs.close()
        assert not has_unread(transport)


def test_they_are_seen_through_what_wraps_the_transport() -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        wrapper = ProtocolWrapper(WrappingFactory(Factory()), Protocol())
        wrapper.transport = Connection(ours)
        theirs.sendall(b"hello")
        assert has_unread(wrapper)


def test_a_transport_without_a_socket_has_nothing_unread() -> None:
    assert not has_unread(object())
    assert not has_unread(None)
