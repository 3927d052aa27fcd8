"""Writing at once."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactor, StringTransport

from chanserv.server.writing import waiting_bytes
from chanserv.sockets import write_promptly


class Descriptor(FileDescriptor):
    """A socket that takes as much at a time as it is told."""

    def __init__(self, room: Any) -> None:
        super().__init__(MemoryReactor())
        self.connected = 1
        self.room = room
        self.taken = b""

    def writeSomeData(self, data: bytes) -> Any:
        if isinstance(self.room, Exception):
            return self.room
        part = bytes(data[: self.room])
        self.taken += part
        self.room -= len(part)
        return len(part)

    def waiting(self) -> bytes:
        return b"".join(self._tempDataBuffer)


def test_what_the_socket_takes_is_written_at_once() -> None:
    transport = Descriptor(10)
    write_promptly(transport, b"12345")
    assert (transport.taken, transport.waiting()) == (b"12345", b"")
    assert not transport.reactor.writers


@pytest.mark.parametrize("room", [0, 3])
def test_what_it_does_not_take_waits(room: int) -> None:
    transport = Descriptor(room)
    write_promptly(transport, b"12345")
    assert (transport.taken, transport.waiting()) == (b"12345"[:room], b"12345"[room:])
    assert transport in transport.reactor.writers


def test_nothing_overtakes_what_waits() -> None:
    transport = Descriptor(0)
    write_promptly(transport, b"one")
    transport.room = 100
    write_promptly(transport, b"two")
    assert (transport.taken, transport.waiting()) == (b"", b"onetwo")
    transport.doWrite()
    assert transport.taken == b"onetwo"


def test_a_lost_connection_is_left_to_the_reactor() -> None:
    transport = Descriptor(ConnectionLost())
    write_promptly(transport, b"one")
    assert transport.waiting() == b"one"


def test_a_producer_is_told_to_pause_by_what_waits() -> None:
    class Producer:
        paused = False

        def pauseProducing(self) -> None:
            self.paused = True

        def stopProducing(self) -> None: ...

    transport, producer = Descriptor(100_000), Producer()
    transport.registerProducer(producer, True)
    write_promptly(transport, b"x" * 100_000)
    assert not producer.paused
    write_promptly(transport, b"x" * 100_000)
    assert producer.paused


def test_a_closing_connection_gets_what_waits_first() -> None:
    transport = Descriptor(10)
    transport.disconnecting = True
    write_promptly(transport, b"one")
    assert transport.taken == b""


def test_a_closed_connection_is_not_written_to() -> None:
    transport = Descriptor(10)
    transport.connected = 0
    write_promptly(transport, b"one")
    assert (transport.taken, transport.waiting()) == (b"", b"")


def test_other_transports_are_just_written_to() -> None:
    transport = StringTransport()
    write_promptly(transport, b"one")
    assert transport.value() == b"one"


def test_what_waits_is_told_also_of_a_transport_in_another() -> None:
    class Wrapper:
        transport = Descriptor(0)

    transport = Wrapper.transport
    transport.write(b"x" * 300_000)
    transport.room = 100_000
    transport.doWrite()
    transport.write(b"more")
    assert waiting_bytes(transport) == waiting_bytes(Wrapper()) == 200_004


def test_transports_that_do_not_tell_are_not_asked() -> None:
    assert waiting_bytes(StringTransport()) is None
