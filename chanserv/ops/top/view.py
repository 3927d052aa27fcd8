"""What there is to be shown, before anybody asks how large the screen is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Style(Enum):
    """How text is shown, where the terminal can."""

    PLAIN = "plain"
    TITLE = "title"
    HEADER = "header"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    FAINT = "faint"


class Piece(NamedTuple):
    """Text of one style."""

    text: str
    style: Style = Style.PLAIN


@dataclass(frozen=True, slots=True)
class Column:
    """
    One column of a table.

    @ivar title: what stands above it.
    @ivar width: in characters; 0 for the one that gets what is left.
    @ivar keeps_end: whether it is the beginning of a text that goes where it is too long:
        the end of a dotted path says most.
    """

    title: str
    width: int = 0
    keeps_end: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """
    Rows under their titles.

    @ivar columns: the first is for names, at the left; all others are for figures, at
        the right.
    @ivar rows: one piece for each column; the most important first.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Piece]]


@dataclass(frozen=True, slots=True)
class View:
    """
    All that there is to be shown.

    @ivar heading: lines that say how the whole is.
    @ivar tables: by their names, in the order in which they stand.
    """

    heading: Sequence[Sequence[Piece]]
    tables: Mapping[str, Table]
