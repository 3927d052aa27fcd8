"""From a reply to the head of a response."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chanserv.server.responses import (
    HOP_BY_HOP,
    BadReply,
    BodyFraming,
    head_bytes,
    read_chunk,
    read_response,
    settle_length,
)
from tests.server.rig import outcome_of

DATE = b"Date: today\r\n"

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)

REPLIES = st.fixed_dictionaries(
    {},
    optional={
        "status": st.integers(100, 700) | ANYTHING,
        "headers": st.lists(st.tuples(st.binary(), st.binary()).map(list)) | ANYTHING,
        "content": st.binary() | ANYTHING,
        "more_content": st.booleans() | ANYTHING,
    },
)


@given(REPLIES, st.sampled_from([b"GET", b"HEAD"]))
def test_any_reply_is_a_well_formed_head_or_refused(reply: dict[str, Any], method: bytes) -> None:
    response = outcome_of(BadReply, read_response, reply)
    if isinstance(response, BadReply):
        assert str(response)
        return
    settle_length(response, method)
    head = head_bytes(response, date=DATE, chunked=False, connection=None)
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 ")
    assert lines[-2:] == [b"", b""]
    assert b"\x00" not in head
    names = []
    for line in lines[1:-2]:
        name, colon, _ = line.partition(b": ")
        assert colon
        assert name
        assert b"\n" not in line
        assert b"\r" not in line
        names.append(name.lower())
    assert not HOP_BY_HOP & set(names)
    assert names.count(b"content-length") <= 1
    assert b"date" in names


@given(REPLIES)
def test_any_reply_is_a_part_of_a_body_or_refused(reply: dict[str, Any]) -> None:
    outcome = outcome_of(BadReply, read_chunk, reply)
    if isinstance(outcome, BadReply):
        assert str(outcome)
        return
    content, more = outcome
    assert isinstance(content, bytes)
    assert isinstance(more, bool)


@given(st.lists(st.binary()))
def test_the_chunks_of_a_body_add_up_to_it(parts: list[bytes]) -> None:
    response = read_response({"status": 200, "more_content": True})
    framing = BodyFraming(response, b"GET", b"HTTP/1.1")
    wire = b"".join(map(framing.part, parts)) + framing.end()
    body = b""
    while True:
        size, _, wire = wire.partition(b"\r\n")
        length = int(size, 16)
        body += wire[:length]
        assert wire[length : length + 2] == b"\r\n"
        wire = wire[length + 2 :]
        if not length:
            break
    assert body == b"".join(parts)
    assert wire == b""
    assert framing.sent == len(body)


@given(st.lists(st.binary()), st.integers(0, 100))
def test_no_more_goes_out_than_was_announced(parts: list[bytes], length: int) -> None:
    headers = [[b"content-length", b"%d" % length]]
    response = read_response({"status": 200, "headers": headers, "more_content": True})
    framing = BodyFraming(response, b"GET", b"HTTP/1.1")
    wire = b"".join(map(framing.part, parts)) + framing.end()
    whole = b"".join(parts)
    assert wire == whole[:length]
    assert framing.cut is (len(whole) > length)
    assert framing.missing == max(0, length - len(whole))


def test_two_lengths_that_agree_are_one() -> None:
    headers = [[b"content-length", b"4"], [b"Content-Length", b"4"]]
    response = read_response({"status": 200, "headers": headers, "content": b"four"})
    assert (response.length, response.refused) == (4, [])


def test_two_lengths_that_differ_are_not() -> None:
    headers = [[b"content-length", b"4"], [b"Content-Length", b"5"]]
    response = read_response({"status": 200, "headers": headers, "content": b"four"})
    assert response.length == 4
    assert len(response.refused) == 1


def test_the_answer_to_head_may_tell_the_length_of_what_is_not_there() -> None:
    headers = [[b"content-length", b"4"]]
    response = read_response({"status": 200, "headers": headers, "content": b""})
    settle_length(response, b"HEAD")
    assert (response.length, response.refused) == (4, [])
