"""The table: what each server did, and what we want beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final


@dataclass(frozen=True)
class Row:
    """
    One thing that is measured.

    @ivar target: the ratio to the first peer that we want.
    @ivar less_is_better: whether the ratio must stay below the target.
    """

    title: str
    unit: str
    target: float | None
    less_is_better: bool = False

    def met(self, ratio: float) -> bool:
        """Whether C{ratio} is what we want."""
        if self.target is None:
            return True
        return ratio <= self.target if self.less_is_better else ratio >= self.target


HTTP: Final = Row("HTTP view, 32 connections", "req/s", 4.0)
HTTP_P99: Final = Row("  the slowest hundredth of these requests", "ms", None, less_is_better=True)
ECHO: Final = Row("WebSocket echo, 50 clients", "trips/s", 1.0)
ECHO_P99: Final = Row("  the slowest hundredth of these trips", "ms", None, less_is_better=True)
GROUP: Final = Row("group of 500, one send at a time", "deliveries/s", 5.0)
GROUP_20: Final = Row("group of 500, twenty at once", "deliveries/s", None)
IDLE: Final = Row("one idle socket", "KB", 0.7, less_is_better=True)

ROWS: Final = (HTTP, HTTP_P99, ECHO, ECHO_P99, GROUP, GROUP_20, IDLE)

Figures = dict[tuple[str, Row], list[float]]
"""What was measured: (server's name, row) -> one figure for each round."""


def table(figures: Figures, servers: Sequence[str], ours: str, peer: str) -> list[str]:
    """
    The medians as lines of text, with the ratio of C{ours} to C{peer}.
    """
    width = max(len(row.title) + len(row.unit) for row in ROWS) + 3
    lines = ["".ljust(width) + "".join(name.rjust(22) for name in servers) + "ratio".rjust(10)]
    for row in ROWS:
        line = f"{row.title}, {row.unit}".ljust(width)
        for name in servers:
            line += _shown(figures.get((name, row))).rjust(22)
        lines.append((line + _ratio(figures, row, ours, peer)).rstrip())
    return lines


def missed(figures: Figures, ours: str, peer: str) -> list[str]:
    """The titles of the rows whose ratio is not what we want."""
    return [
        row.title
        for row in ROWS
        if (ours, row) in figures and (peer, row) in figures
        if not row.met(median(figures[ours, row]) / median(figures[peer, row]))
    ]


def _shown(values: list[float] | None) -> str:
    if not values:
        return "-"
    middle = median(values)
    return f"{middle:,.0f}" if middle >= 100 else f"{middle:.1f}"


def _ratio(figures: Figures, row: Row, ours: str, peer: str) -> str:
    if (ours, row) not in figures or (peer, row) not in figures:
        return ""
    ratio = median(figures[ours, row]) / median(figures[peer, row])
    text = f"{ratio:.2f} x".rjust(10)
    if row.target is not None:
        bound = "at most" if row.less_is_better else "at least"
        text += f"   ({bound} {row.target:g} x: {'met' if row.met(ratio) else 'MISSED'})"
    return text
