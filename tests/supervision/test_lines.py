"""Tests for C{chanserv.supervision.lines}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chanserv.supervision.lines import Allowance, Lines

texts = st.lists(st.sampled_from([b"", b"\n", b"a", b"bc\n", b"d\n\n", b"efg"]), max_size=30)


@given(texts)
def test_lines_are_the_same_however_they_come(pieces: list[bytes]) -> None:
    lines = Lines(1000)
    found = [line for piece in pieces for line in lines.feed(piece)] + list(lines.end())
    whole = b"".join(pieces).split(b"\n")
    assert found == (whole if whole[-1] else whole[:-1])


@given(texts)
def test_a_line_that_is_too_long_is_cut_and_counted_however_it_comes(pieces: list[bytes]) -> None:
    lines = Lines(2)
    found = [line for piece in pieces for line in lines.feed(piece)] + list(lines.end())
    whole = b"".join(pieces).split(b"\n")
    whole = whole if whole[-1] else whole[:-1]
    assert found == [line[:2] for line in whole]
    assert lines.cut == sum(len(line) > 2 for line in whole)


def test_no_more_is_kept_of_a_line_than_its_limit() -> None:
    lines = Lines(10)
    found = [line for _ in range(1000) for line in lines.feed(b"x" * 100)]
    assert found == [b"x" * 10]
    assert list(lines.feed(b"\nnext\n")) == [b"next"]


def test_so_many_lines_are_shown_in_each_second_and_the_others_counted() -> None:
    allowance = Allowance(3)
    assert [allowance.take(10.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert allowance.withheld == 2
    assert not allowance.take(10.9)
    assert allowance.take(11.0)
