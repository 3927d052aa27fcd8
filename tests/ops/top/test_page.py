"""Tests for C{chanserv.ops.top.page}."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.ops.top.page import Page, as_text, clean, cut, lines_of, shares
from chanserv.ops.top.tables import view_of
from chanserv.ops.top.tallies import Tallies
from chanserv.ops.top.view import Column, Piece, Style, Table, View
from tests.ops.top.samples import a_process, a_sample, a_worker, times

FOOTER = [Piece("q quit")]


def table(rows, name="row"):
    return Table(
        [Column("NAMES", keeps_end=True), Column("FIGURE", 8)],
        [[Piece(f"{name} {number}"), Piece(str(number))] for number in range(rows)],
    )


def view(**rows):
    return View([[Piece("heading")]], {name: table(count, name) for name, count in rows.items()})


def shown(lines):
    return ["".join(piece.text for piece in line) for line in lines]


@cache
def crowded():
    """A system that no screen holds."""
    workers = [
        a_worker(pid, pid, consumers={f"site.app.consumers.number_{pid}": times(0.1 * pid)})
        for pid in range(1, 60)
    ]
    channels = {f"jobs.number.{number}": {"messages_pending": number} for number in range(99)}
    sample = a_sample(100, a_process(*workers), a_process(pid=11), channels=channels)
    tallies = Tallies()
    tallies.add(sample)
    return view_of(sample, tallies, "redis+sentinel://…@10.0.0.1,10.0.0.2,10.0.0.3/mysite", 1.0)


@pytest.mark.parametrize("page", list(Page))
@given(st.integers(1, 200), st.integers(1, 100), st.integers(0, 200))
def test_no_page_is_larger_than_its_screen(page, width, height, offset) -> None:
    lines = lines_of(crowded(), page, width, height, offset=offset, footer=FOOTER)
    assert len(lines) == height
    assert all(len(line) <= max(width, 20) for line in shown(lines))


def test_on_80_by_24_all_of_the_overview_has_a_place() -> None:
    lines = shown(lines_of(crowded(), Page.OVERVIEW, 80, 24, footer=FOOTER))
    assert len(lines) == 24
    for title in ("PROCESS", "WORKERS", "RELEASES", "BUSIEST CHANNELS", "SLOWEST CONSUMERS"):
        assert any(line.startswith(title) for line in lines), title
    assert lines[-1] == "q quit"
    # Figures are not cut.
    (header,) = (line for line in lines if line.startswith("WORKERS"))
    titles = ("SLOT", "PID", "STATE", "RELEASE", "BUSY", "OLDEST", "RUNS/S", "FAIL/S", "RST")
    assert tuple(header.split()[-9:]) == titles


def test_a_title_tells_how_many_rows_there_are_when_not_all_are_shown() -> None:
    lines = shown(lines_of(view(workers=30), Page.WORKERS, 40, 10, footer=FOOTER))
    assert lines[1].startswith("NAMES 7/30 ")
    assert lines[2].split() == ["workers", "0", "0"]
    lines = shown(lines_of(view(workers=30), Page.WORKERS, 40, 10, offset=5, footer=FOOTER))
    assert lines[1].startswith("NAMES 6-12/30 ")
    assert lines[2].split() == ["workers", "5", "5"]


def test_one_cannot_scroll_past_the_end() -> None:
    lines = shown(lines_of(view(workers=30), Page.WORKERS, 40, 10, offset=300, footer=FOOTER))
    assert lines[8].split() == ["workers", "29", "29"]


def test_a_page_shows_its_table_and_no_other() -> None:
    text = as_text(lines_of(view(workers=2, channels=2), Page.CHANNELS, 40))
    assert "channels 1" in text
    assert "workers" not in text


def test_without_a_height_everything_is_shown() -> None:
    text = as_text(lines_of(view(workers=50, channels=50), Page.OVERVIEW, 40))
    assert text.count("\n") == 1 + 2 * 52


def test_tables_without_rows_are_left_out_of_the_overview() -> None:
    assert "NAMES" not in as_text(lines_of(view(workers=0), Page.OVERVIEW, 40))


def test_a_short_table_is_whole_and_long_ones_share_what_is_left() -> None:
    tables = [table(2), table(50), table(50)]
    assert shares(tables, 15, airy=False) == [2, 5, 5]
    assert shares(tables, 2, airy=False) == [0, 0, 0]
    assert shares(tables, None, airy=False) == [2, 50, 50]


@given(st.lists(st.integers(0, 40), max_size=6), st.integers(0, 60))
def test_shares_use_all_the_room_and_no_more(rows, room) -> None:
    tables = [table(count) for count in rows]
    given_rows = shares(tables, room, airy=False)
    assert all(few <= most for few, most in zip(given_rows, rows, strict=True))
    left = max(room - len(tables), 0)
    assert sum(given_rows) == min(left, sum(rows))


def test_a_heading_that_is_too_long_goes_on_below() -> None:
    long = View([[Piece("a" * 30), Piece("  b" * 5), Piece("  c")]], {})
    assert shown(lines_of(long, Page.OVERVIEW, 40)) == ["a" * 30, "b  b  b  b  b  c"]


def test_names_lose_what_says_least() -> None:
    assert cut("site.chat.consumers.receive", 10, keeps_end=True) == "~s.receive"
    assert cut("http.request.body", 10) == "http.requ~"
    assert cut("short", 10) == "short"


@given(st.text(), st.integers(0, 20), st.booleans())
def test_nothing_is_longer_than_it_may_be(text, width, keeps_end) -> None:
    assert len(cut(text, width, keeps_end)) <= width


@given(st.text())
def test_a_terminal_obeys_nothing_that_comes_from_elsewhere(text) -> None:
    found = clean(text)
    assert len(found) == len(text)
    assert all(one.isprintable() for one in found)
    assert not set(found) & {"\x1b", "\r", "\n", "\x9b", "\u202e"}


def test_names_from_elsewhere_are_cleaned_on_the_page() -> None:
    evil = Table([Column("NAMES")], [[Piece("evil\x1b]0;title\x07", Style.BAD)]])
    text = as_text(lines_of(View([[Piece("a\x1b[2Jb")]], {"workers": evil}), Page.WORKERS, 40))
    assert text == "a?[2Jb\n\nNAMES\nevil?]0;title?\n"
