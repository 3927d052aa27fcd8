from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from chanserv.errors import ChannelLayerError, LayerUnavailable
from chanserv.layers.redis.links import bell_class, link_class
from chanserv.layers.redis.protocol import SECOND_LOOK, Link, pack, txredisapi
from chanserv.layers.redis.refusals import Refused
from chanserv.layers.redis.script import Script

TIMEOUT = 10.0


class Transport(StringTransport):
    """Counts writes, and ends its protocol when it is aborted."""

    writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def abortConnection(self) -> None:
        super().abortConnection()
        self.link.connectionLost(Failure(ConnectionDone()))

    link: Any = None


class Rig:
    """A link on a transport and a clock of its own."""

    def __init__(self, by_hiredis: bool, kind: Any = link_class, **limits: int) -> None:
        self.clock = Clock()
        self.transport = Transport()
        self.ended: list[LayerUnavailable] = []
        self.link: Link = kind(by_hiredis)(
            "h:1/0", self.clock, TIMEOUT, lambda: None, self.ended.append, **limits
        )
        self.transport.link = self.link
        self.link.makeConnection(self.transport)

    def sent(self) -> bytes:
        """What has been written since the last look."""
        self.clock.advance(0)
        value = self.transport.value()
        self.transport.clear()
        return value

    def lose(self, reason: Exception | None = None) -> None:
        self.transport.connected = False
        self.link.connectionLost(Failure(reason or ConnectionLost()))


def result(deferred: Deferred[Any]) -> Any:
    """What it fired with, or its exception."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "it has not fired"
    return found[0].value if isinstance(found[0], Failure) else found[0]


@pytest.fixture(params=[True, False], ids=["hiredis", "python"])
def by_hiredis(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def rig(by_hiredis: bool) -> Rig:
    return Rig(by_hiredis)


# Out

words = st.one_of(st.binary(), st.text(), st.integers(), st.floats(allow_nan=False))


@given(st.lists(words, min_size=1).map(tuple))
def test_commands_are_packed_like_hiredis_packs_them(command: tuple[Any, ...]) -> None:
    assert pack(command) == hiredis.pack_command(command)


def test_what_one_turn_of_the_reactor_sends_is_one_write(rig: Rig) -> None:
    for number in range(100):
        rig.link.call("SET", "k", number)
    assert rig.transport.writes == 0
    assert rig.sent() == b"".join(pack(("SET", "k", number)) for number in range(100))
    assert rig.transport.writes == 1


def test_nothing_is_written_while_the_server_does_not_read(rig: Rig) -> None:
    rig.link.pauseProducing()
    replies = [rig.link.call("A"), rig.link.call("B")]
    assert rig.sent() == b""
    rig.link.resumeProducing()
    assert rig.sent() == pack("A") + pack("B")
    rig.link.dataReceived(b":1\r\n:2\r\n")
    assert [result(reply) for reply in replies] == [1, 2]


def test_txredisapis_own_commands_work_too(rig: Rig) -> None:
    reply = rig.link.get("k")
    assert rig.sent() == pack(("GET", "k"))
    rig.link.dataReceived(b"$2\r\n07\r\n")
    assert result(reply) == b"07"


def test_more_than_so_many_commands_do_not_wait(by_hiredis: bool) -> None:
    rig = Rig(by_hiredis, max_unanswered=2)
    waiting = [rig.link.call("A"), rig.link.call("B")]
    refused = result(rig.link.call("C"))
    assert isinstance(refused, LayerUnavailable)
    assert "h:1/0 is too slow: 2 commands wait" in str(refused)
    assert rig.sent() == pack("A") + pack("B")
    rig.link.dataReceived(b":1\r\n:2\r\n")
    assert [result(reply) for reply in waiting] == [1, 2]
    again = rig.link.call("D")
    rig.link.dataReceived(b":4\r\n")
    assert result(again) == 4


def test_more_than_so_many_bytes_do_not_wait_to_be_sent(by_hiredis: bool) -> None:
    rig = Rig(by_hiredis, max_unsent=1000)
    rig.link.pauseProducing()
    held = rig.link.call("SET", "k", b"x" * 1000)
    assert isinstance(result(rig.link.call("PING")), LayerUnavailable)
    rig.link.resumeProducing()
    last = rig.link.call("PING")
    rig.link.dataReceived(b"+OK\r\n+PONG\r\n")
    assert [result(held), result(last)] == [b"OK", b"PONG"]


# In

scalars = st.one_of(st.none(), st.binary(max_size=40), st.integers(-(2**63), 2**63 - 1))
replies = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


def encoded(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    return b"*%d\r\n" % len(reply) + b"".join(map(encoded, reply))


@pytest.mark.parametrize("by_hiredis", [True, False], ids=["hiredis", "python"])
@given(st.lists(replies, min_size=1, max_size=6), st.lists(st.integers(1, 30), max_size=40))
def test_replies_are_what_the_server_said_however_they_are_cut(
    by_hiredis: bool, said: list[Any], cuts: list[int]
) -> None:
    rig = Rig(by_hiredis)
    waiting = [rig.link.call("GET") for _ in said]
    data = b"".join(map(encoded, said))
    for size in cuts:
        rig.link.dataReceived(data[:size])
        data = data[size:]
    if data:
        rig.link.dataReceived(data)
    assert [result(reply) for reply in waiting] == said


def test_statuses_are_bytes_in_lists_too(rig: Rig) -> None:
    waiting = [rig.link.call("A"), rig.link.call("B")]
    rig.link.dataReceived(b"+OK\r\n*2\r\n+QUEUED\r\n*1\r\n+x\r\n")
    assert [result(reply) for reply in waiting] == [b"OK", [b"QUEUED", [b"x"]]]


def test_an_error_reply_fails_its_own_command_alone(rig: Rig) -> None:
    waiting = [rig.link.call("A"), rig.link.call("B")]
    rig.link.dataReceived(b"-ERR wrong number of arguments\r\n:2\r\n")
    error = result(waiting[0])
    assert type(error) is ChannelLayerError
    assert "h:1/0" in str(error)
    assert "wrong number of arguments" in str(error)
    assert result(waiting[1]) == 2


def test_an_error_in_a_list_stands_there(rig: Rig) -> None:
    waiting = rig.link.call("EXEC")
    rig.link.dataReceived(b"*3\r\n:1\r\n-ERR no\r\n*1\r\n-WRONGTYPE x\r\n")
    one, error, inner = result(waiting)
    assert one == 1
    assert isinstance(error, txredisapi.ResponseError)
    assert "no" in str(error)
    assert isinstance(inner[0], txredisapi.ResponseError)


def test_a_large_list_of_bulk_strings_needs_no_turn_of_the_reactor(rig: Rig) -> None:
    said = [b"x" * 100] * 2_000
    waiting = rig.link.call("LRANGE")
    data = encoded(said)
    for at in range(0, len(data), 65536):
        rig.link.dataReceived(data[at : at + 65536])
    assert result(waiting) == said


@pytest.mark.parametrize(
    "garbage",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\r\n", b"*x\r\n", b":x\r\n", b":1\r\n:2\r\n:3\r\n"],
)
def test_what_is_no_reply_ends_the_connection(rig: Rig, garbage: bytes) -> None:
    waiting = rig.link.call("A")
    last = rig.link.call("B")
    rig.link.dataReceived(garbage)
    assert len(rig.ended) == 1
    result(waiting)
    result(last)
    rig.link.dataReceived(b":5\r\n")


def test_a_reply_that_nobody_asked_for_ends_the_connection(rig: Rig) -> None:
    rig.link.dataReceived(b"+OK\r\n")
    assert "nothing asked for" in str(rig.ended[0])


def test_a_command_that_was_cancelled_still_has_its_reply(rig: Rig) -> None:
    waiting = [rig.link.call("A"), rig.link.call("B")]
    waiting[0].cancel()
    assert isinstance(result(waiting[0]), CancelledError)
    rig.link.dataReceived(b":1\r\n:2\r\n")
    assert result(waiting[1]) == 2


# Scripts

SCRIPT = Script.of("x", b"return 1")


def test_a_script_is_run_by_its_hash(rig: Rig) -> None:
    waiting = rig.link.run(SCRIPT, ["k"], ["a", 2])
    assert rig.sent() == pack(("EVALSHA", SCRIPT.sha, 1, "k", "a", 2))
    rig.link.dataReceived(b":1\r\n")
    assert result(waiting) == 1


def test_a_server_that_does_not_know_a_script_is_sent_its_text(rig: Rig) -> None:
    waiting = rig.link.run(SCRIPT, ["k"], ["a"])
    rig.sent()
    rig.link.dataReceived(b"-NOSCRIPT No matching script. Please use EVAL.\r\n")
    assert rig.sent() == pack(("EVAL", SCRIPT.source, 1, "k", "a"))
    rig.link.dataReceived(b":1\r\n")
    assert result(waiting) == 1


def test_a_script_that_fails_is_not_run_again(rig: Rig) -> None:
    waiting = rig.link.run(SCRIPT)
    rig.sent()
    rig.link.dataReceived(b"-ERR user_script:1: bad\r\n")
    assert isinstance(result(waiting), ChannelLayerError)
    assert rig.sent() == b""


# Time and the end


def test_a_server_that_is_silent_while_commands_wait_is_left(rig: Rig) -> None:
    waiting = [rig.link.call("A"), rig.link.call("B")]
    rig.clock.advance(TIMEOUT)
    assert rig.ended == []
    rig.clock.advance(SECOND_LOOK)
    for reply in waiting:
        error = result(reply)
        assert isinstance(error, LayerUnavailable)
        assert "silent for 10 s while 2 commands waited" in str(error)
    assert len(rig.ended) == 1
    assert rig.clock.getDelayedCalls() == []


def test_any_byte_of_it_counts_as_life(rig: Rig) -> None:
    waiting = rig.link.call("A")
    for byte in b"$3\r\nabc\r\n":
        rig.clock.advance(TIMEOUT - 1)
        rig.link.dataReceived(bytes([byte]))
    assert result(waiting) == b"abc"
    assert rig.ended == []


def test_replies_that_came_while_this_process_stood_still_are_read_first(rig: Rig) -> None:
    waiting = rig.link.call("A")
    rig.clock.advance(TIMEOUT * 5)
    rig.link.dataReceived(b":1\r\n")
    assert result(waiting) == 1
    rig.clock.advance(TIMEOUT * 5)
    rig.clock.advance(TIMEOUT * 5)
    assert rig.ended == []


def test_silence_is_no_matter_while_nothing_waits(rig: Rig) -> None:
    first = rig.link.call("A")
    rig.link.dataReceived(b":1\r\n")
    result(first)
    for _ in range(5):
        rig.clock.advance(TIMEOUT * 3)
    second = rig.link.call("B")
    rig.clock.advance(TIMEOUT - 1)
    assert rig.ended == []
    rig.link.dataReceived(b":2\r\n")
    assert result(second) == 2


def test_what_waits_when_the_connection_goes_fails_and_is_not_sent_again(rig: Rig) -> None:
    waiting = [rig.link.call("A"), rig.link.call("B")]
    rig.lose(ConnectionDone())
    for reply in waiting:
        error = result(reply)
        assert isinstance(error, LayerUnavailable)
        assert "Redis h:1/0: it closed the connection" in str(error)
    after = result(rig.link.call("C"))
    assert isinstance(after, LayerUnavailable)
    assert rig.sent() == b""
    assert rig.clock.getDelayedCalls() == []
    assert [str(why) for why in rig.ended] == [str(after)]


def test_closing_sends_first_what_is_unsent(rig: Rig) -> None:
    waiting = rig.link.call("A")
    rig.link.close()
    assert rig.transport.value() == pack("A")
    assert rig.transport.disconnecting
    assert rig.transport.producer is None
    rig.lose(ConnectionDone())
    assert "the connection is closed" in str(result(waiting))
    rig.clock.advance(0)
    assert rig.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "said",
    [
        b"-READONLY You can't write against a read only replica.",
        b"-LOADING Redis is loading the dataset in memory",
        b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        b"-NOAUTH Authentication required.",
    ],
)
def test_a_server_that_is_not_the_right_one_any_more_is_left(rig: Rig, said: bytes) -> None:
    waiting = [rig.link.call("A"), rig.link.call("B")]
    rig.link.dataReceived(said + b"\r\n")
    errors = [result(reply) for reply in waiting]
    assert isinstance(errors[0], Refused)
    assert isinstance(errors[1], LayerUnavailable)
    assert len(rig.ended) == 1


def test_one_that_has_no_memory_left_is_not(rig: Rig) -> None:
    waiting = [rig.link.call("A"), rig.link.call("B")]
    rig.link.dataReceived(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n:2\r\n")
    assert "raise its maxmemory" in str(result(waiting[0]))
    assert result(waiting[1]) == 2
    assert rig.ended == []


# Listening


@pytest.fixture
def bell(by_hiredis: bool) -> Rig:
    rig = Rig(by_hiredis, bell_class)
    link: Any = rig.link
    rig.heard = []  # type: ignore[attr-defined]
    link.heard = lambda channel, payload: rig.heard.append((channel, payload))  # type: ignore[attr-defined]
    return rig


def test_what_is_published_is_told_apart_from_answers(bell: Any) -> None:
    waiting = bell.link.call("SUBSCRIBE", "a")
    ping = bell.link.call("PING")
    bell.link.dataReceived(
        encoded([b"message", b"a", b"1"])
        + encoded([b"subscribe", b"a", 1])
        + encoded([b"message", b"a", b"\x00\xff"])
        + encoded([b"pong", b""])
    )
    assert bell.heard == [(b"a", b"1"), (b"a", b"\x00\xff")]
    assert result(waiting) == [b"subscribe", b"a", 1]
    assert result(ping) == [b"pong", b""]
