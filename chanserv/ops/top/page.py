"""As much of a view as a screen holds."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

from chanserv.ops.top.view import Column, Piece, Style, Table, View

Line = list[Piece]
"""One line of a screen, no longer than it is wide."""

LEAST_WIDTH: Final = 20
"""Columns below which lines are cut rather than made narrower still."""

CUT: Final = "~"
"""Stands where a text that was too long has been cut; in any terminal's letters."""

KEYS: Final = "q quit  p pause  o overview  w workers  r releases  c channels  s consumers"


class Page(Enum):
    """What is shown: all in short, or one table at length."""

    OVERVIEW = "o"
    WORKERS = "w"
    RELEASES = "r"
    CHANNELS = "c"
    CONSUMERS = "s"

    @property
    def table(self) -> str:
        """The one table."""
        return self.name.lower()


def lines_of(
    view: View,
    page: Page,
    width: int,
    height: int | None = None,
    *,
    offset: int = 0,
    footer: Sequence[Piece] = (),
) -> list[Line]:
    """
    Lay out a page.

    @param width: characters in a line.
    @param height: lines; L{None} for as many as there are.
    @param offset: rows to leave out at the top of one table at length.
    @param footer: the last line, where there is a height.
    """
    width = max(width, LEAST_WIDTH)
    lines = [part for line in view.heading for part in _wrapped(line, width)]
    below = [_fitted(footer, width)] if height is not None else []
    room = None if height is None else max(height - len(lines) - len(below), 0)
    tables = (
        [table for table in view.tables.values() if table.rows]
        if page is Page.OVERVIEW
        else [view.tables[page.table]]
    )
    # Blank lines only where nothing gives way to them.
    needed = sum(len(table.rows) + 2 for table in tables)
    airy = room is None or needed <= room
    body: list[Line] = []
    for table, rows in zip(tables, shares(tables, room, airy), strict=True):
        if airy:
            body.append([])
        body += _laid_out(table, width, offset if len(tables) == 1 else 0, rows)
    body = body[:room] if room is not None else body
    if room is not None:
        body += [[]] * (room - len(body))
    lines += body + below
    return lines if height is None else lines[:height]


def shares(tables: Sequence[Table], room: int | None, airy: bool) -> list[int]:
    """
    How many rows of each table there is room for.

    Each gets one more in turn, for as long as there is room and it has more: a short
    table is shown whole, and long ones share what is left.
    """
    wanted = [len(table.rows) for table in tables]
    if room is None or airy:
        return wanted
    left = room - len(tables)
    given = [0] * len(tables)
    while left > 0 and given != wanted:
        for number, most in enumerate(wanted):
            if given[number] < most and left > 0:
                given[number] += 1
                left -= 1
    return given


def _laid_out(table: Table, width: int, offset: int, count: int) -> Iterable[Line]:
    """The titles of C{table}, and C{count} of its rows."""
    offset = max(min(offset, len(table.rows) - count), 0)
    rows = table.rows[offset : offset + count]
    first, *others = table.columns
    left = max(width - sum(column.width + 1 for column in others), 1)
    title = first.title
    if len(rows) < len(table.rows):
        shown = f"{offset + 1}-{offset + len(rows)}" if offset else f"{len(rows)}"
        title += f" {shown}/{len(table.rows)}"
    yield _row(table.columns, [Piece(title), *(Piece(one.title) for one in others)], left, width)
    for row in rows:
        yield _row(table.columns, row, left, width, Style.PLAIN)


def _row(
    columns: Sequence[Column],
    cells: Sequence[Piece],
    left: int,
    width: int,
    style: Style = Style.HEADER,
) -> Line:
    line: Line = []
    for number, (column, cell) in enumerate(zip(columns, cells, strict=True)):
        header = style is Style.HEADER
        space = column.width or left
        text = cut(clean(cell.text), space, column.keeps_end and not header)
        text = text.ljust(space) if number == 0 else " " + text.rjust(space)
        line.append(Piece(text, style if header else cell.style))
    return _fitted(line, width)


def _wrapped(line: Sequence[Piece], width: int) -> list[Line]:
    """C{line} on as many lines as it takes, broken between its pieces."""
    wrapped: list[list[Piece]] = [[]]
    used = 0
    for piece in line:
        if used and used + len(piece.text) > width:
            wrapped.append([])
            used = 0
            piece = Piece(piece.text.lstrip(" ,"), piece.style)
        wrapped[-1].append(piece)
        used += len(piece.text)
    return [_fitted(part, width) for part in wrapped]


def _fitted(line: Iterable[Piece], width: int) -> Line:
    """As much of C{line} as fits into C{width}."""
    fitted: Line = []
    for text, style in line:
        text = clean(text)[:width]
        width -= len(text)
        if text:
            fitted.append(Piece(text, style))
    return fitted


def cut(text: str, width: int, keeps_end: bool = False) -> str:
    """C{text}, no longer than C{width}."""
    if len(text) <= width:
        return text
    if width < 2:
        return text[:width]
    return CUT + text[1 - width :] if keeps_end else text[: width - 1] + CUT


def clean(text: str) -> str:
    """
    C{text} without what a terminal might obey, or show in other than one column: it
    has come from elsewhere.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if _is_plain(one) else "?" for one in text)


def _is_plain(one: str) -> bool:
    wide = unicodedata.east_asian_width(one) in "WF"
    return one.isprintable() and not wide and not unicodedata.combining(one)


def as_text(lines: Iterable[Line]) -> str:
    """The same without styles, for files and pipes."""
    return "".join("".join(piece.text for piece in line).rstrip() + "\n" for line in lines)
