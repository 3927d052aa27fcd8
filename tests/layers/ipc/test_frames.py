"""Frames come out as they went in, however the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.errors import CorruptMessage
from chanserv.layers.ipc.frames import FrameReader, framed


@given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(1, 30), max_size=80))
def test_payloads_come_out_whole_and_in_order_however_they_are_cut(
    payloads: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(map(framed, payloads))
    reader = FrameReader()
    got: list[bytes] = []
    for cut in cuts:
        part, stream = stream[:cut], stream[cut:]
        got += reader.feed(part)
    got += reader.feed(stream)
    assert got == payloads


def test_nothing_comes_out_before_its_last_byte() -> None:
    reader = FrameReader()
    data = framed(b"payload")
    for position in range(len(data) - 1):
        assert list(reader.feed(data[position : position + 1])) == []
    assert list(reader.feed(data[-1:])) == [b"payload"]


def test_a_large_frame_in_many_parts_comes_out_whole() -> None:
    payload = bytes(range(256)) * 8192
    data = framed(payload)
    reader = FrameReader()
    got: list[bytes] = []
    for start in range(0, len(data), 65536):
        got += reader.feed(data[start : start + 65536])
    assert got == [payload]


def test_a_length_beyond_the_limit_is_refused_before_it_is_there() -> None:
    reader = FrameReader(limit=10)
    assert list(reader.feed(framed(b"x" * 10))) == [b"x" * 10]
    with pytest.raises(CorruptMessage, match="a frame of 11 bytes was announced, and 10"):
        list(reader.feed((11).to_bytes(4, "big")))


def test_a_payload_beyond_the_limit_is_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chanserv.layers.ipc.frames.MAX_FRAME", 10)
    assert framed(b"x" * 10)
    with pytest.raises(ValueError, match="a frame of 11 bytes"):
        framed(b"x" * 11)
