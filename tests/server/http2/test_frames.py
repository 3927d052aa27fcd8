"""Taking bytes apart into frames, what they cost, and heads: pure code."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes
from hypothesis import given
from hypothesis import strategies as st

from chanserv.server.http2.budget import REFILL, Budget, cost
from chanserv.server.http2.frames import (
    END_HEADERS,
    END_STREAM,
    MAX_PAYLOAD,
    ConnectionBroken,
    Frame,
    FrameReader,
    Kind,
)
from chanserv.server.http2.heads import MalformedRequest, read_opening, response_fields
from chanserv.server.responses import plain_response
from tests.server.http2.client import fields


def made(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


SETTINGS = made(Kind.SETTINGS)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 2, 3, 5, 6, 8, 200]),
            st.integers(0, 255),
            st.integers(0, 2**31 - 1),
            st.binary(max_size=50),
        ),
        max_size=8,
    ),
    st.lists(st.integers(1, 60)),
)
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[tuple[int, int, int, bytes]], cuts: list[int]
) -> None:
    reader = FrameReader(1000, 8)
    data = SETTINGS + b"".join(made(*frame) for frame in frames)
    found: list[Frame] = []
    for cut in cuts:
        found += reader.read(data[:cut])
        data = data[cut:]
    found += reader.read(data)
    assert [(one.kind, one.flags, one.stream, one.data[9:]) for one in found[1:]] == frames
    assert all(one.length == len(one.data) - 9 for one in found)


def test_a_frame_may_be_as_long_as_the_protocol_says() -> None:
    reader = FrameReader(1000, 8)
    [_, frame] = reader.read(SETTINGS + made(Kind.DATA, 0, 1, bytes(MAX_PAYLOAD)))
    assert frame.length == MAX_PAYLOAD
    with pytest.raises(ConnectionBroken) as caught:
        list(reader.read((MAX_PAYLOAD + 1).to_bytes(3, "big") + bytes(6)))
    assert caught.value.code == ErrorCodes.FRAME_SIZE_ERROR


def test_headers_may_go_on_so_far() -> None:
    reader = FrameReader(30, 2)
    list(reader.read(SETTINGS))
    for _ in range(3):
        list(reader.read(made(Kind.HEADERS, 0, 1, bytes(10))))
        assert reader.in_block
        list(reader.read(made(Kind.CONTINUATION, 0, 1, bytes(10))))
        list(reader.read(made(Kind.CONTINUATION, END_HEADERS, 1, bytes(10))))
        assert not reader.in_block


@pytest.mark.parametrize(("sizes"), [[31], [10, 21], [1, 1, 1, 1]])
def test_headers_that_go_on_for_longer_break_the_connection(sizes: list[int]) -> None:
    reader = FrameReader(30, 2)
    frames = [made(Kind.HEADERS, 0, 1, bytes(sizes[0]))]
    frames += [made(Kind.CONTINUATION, 0, 1, bytes(size)) for size in sizes[1:]]
    list(reader.read(SETTINGS + b"".join(frames[:-1])))
    with pytest.raises(ConnectionBroken) as caught:
        list(reader.read(frames[-1]))
    assert caught.value.code == ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    ("frame", "tokens"),
    [
        (made(Kind.HEADERS, END_HEADERS, 1, b"x"), 0),
        (made(Kind.DATA, 0, 1, b"x"), 0),
        (made(Kind.DATA, END_STREAM, 1), 0),
        (made(Kind.DATA, 0, 1), 1),
        (made(Kind.PING, 0, 0, bytes(8)), 1),
        (made(Kind.SETTINGS, 1), 1),
        (made(Kind.SETTINGS, 0, 0, bytes(600)), 11),
        (made(200), 1),
    ],
)
def test_a_frame_costs_what_it_brings_nobody(frame: bytes, tokens: int) -> None:
    kind, flags = frame[3], frame[4]
    assert cost(Frame(kind, flags, 1, frame)) == tokens


def test_a_budget_fills_up_again_and_not_further() -> None:
    budget = Budget(30, 0)
    assert budget.spend(30, 0)
    assert not budget.spend(1, 0)
    budget = Budget(30, 0)
    assert budget.spend(30, 0)
    assert budget.spend(10, REFILL / 3)
    assert not budget.spend(1, REFILL / 3)
    budget = Budget(30, 0)
    assert budget.spend(30, REFILL * 10)
    budget.earn(5)
    assert budget.spend(5, REFILL * 10)


def test_a_clock_that_is_set_back_costs_nothing() -> None:
    budget = Budget(30, 1000)
    assert budget.spend(10, 500)
    assert budget.spend(20, 500)
    assert not budget.spend(1, 500)


@given(
    st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=8), st.booleans()
)
def test_any_fields_are_a_request_or_malformed(
    more: list[tuple[bytes, bytes]], ended: bool
) -> None:
    try:
        opening = read_opening([*fields(), *more], ended)
    except MalformedRequest:
        return
    assert opening.headers[0] == (b"host", b"example.org")
    assert all(name == name.lower() and b"\n" not in value for name, value in opening.headers)


def test_a_length_with_very_many_digits_is_just_too_long() -> None:
    opening = read_opening(fields(b"/", b"POST", (b"content-length", b"9" * 10_000)), False)
    assert opening.length is not None
    assert opening.length > 10**18


def test_what_hardly_comes_twice_is_not_remembered() -> None:
    response = plain_response(200, "x", [(b"Set-Cookie", b"a=b"), (b"X-A", b"b")])
    response.length = 1
    indexed = {one[0]: one.indexable for one in response_fields(response, b"now")}
    assert indexed == {
        b":status": True,
        b"content-type": True,
        b"set-cookie": False,
        b"x-a": True,
        b"date": True,
        b"server": True,
        b"content-length": False,
    }
