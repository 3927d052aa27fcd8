"""The opening of a WebSocket, and the replies on it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chanserv.server.handshake import (
    Offer,
    handshake_bytes,
    read_offer,
    read_socket_reply,
)
from chanserv.server.requests import RequestRefused, read_head
from chanserv.server.responses import BadReply
from tests.server.rig import outcome_of
from tests.server.test_responses import ANYTHING


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "accept": st.booleans() | ANYTHING,
            "text": st.text() | ANYTHING,
            "bytes": st.binary() | ANYTHING,
            "close": st.booleans() | st.integers(990, 5010) | ANYTHING,
            "subprotocol": st.text() | ANYTHING,
        },
    )
)
def test_any_reply_says_something_or_is_refused(message: dict[str, Any]) -> None:
    reply = outcome_of(BadReply, read_socket_reply, message)
    if isinstance(reply, BadReply):
        assert str(reply)
        return
    assert not (reply.accepts() and reply.refuses())
    assert reply.payload is None or isinstance(reply.payload, bytes)
    if reply.payload is not None and not reply.binary:
        assert reply.payload.decode("utf-8") == message["text"]
    if reply.close is not None:
        assert 1000 <= reply.close <= 4999
        assert reply.close not in (1004, 1005, 1006, 1015)


@given(st.lists(st.tuples(st.just(b"sec-websocket-protocol"), st.binary())))
def test_any_subprotocols_are_tokens_each_once_or_refused(
    headers: list[tuple[bytes, bytes]],
) -> None:
    head = read_head(
        b"HTTP/1.1",
        [
            (b"host", b"a"),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            *headers,
        ],
    )
    offer = outcome_of(RequestRefused, read_offer, b"GET", head)
    if isinstance(offer, RequestRefused):
        assert offer.status == 400
        return
    assert len(set(offer.subprotocols)) == len(offer.subprotocols)
    for name in offer.subprotocols:
        assert name.isascii()
        assert not set(name) & set(' ,;"()')


def test_the_handshake_that_is_handed_on_holds_what_was_agreed() -> None:
    data = handshake_bytes(Offer(b"key", ("a", "b"), b"x; y"), "b")
    assert b"Sec-WebSocket-Key: key\r\n" in data
    assert b"Sec-WebSocket-Protocol: b\r\n" in data
    assert b"Sec-WebSocket-Extensions: x; y\r\n" in data
    assert data.endswith(b"\r\n\r\n")
