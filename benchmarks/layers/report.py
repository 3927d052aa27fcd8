"""The tables: what each layer did, and IPC beside Redis on the same work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final


@dataclass(frozen=True)
class Row:
    """
    One thing that is measured.

    @ivar about: what the title leaves to the row above it.
    """

    title: str
    unit: str
    less_is_better: bool = False
    about: str = ""


ONE_BY_ONE: Final = Row("sends, each when the last is in", "sends/s")
AT_ONCE: Final = Row("sends, 50 at once", "sends/s")
BATCHES: Final = Row("sends, in batches of 100", "sends/s")
P50: Final = Row("send to receive, median", "µs", less_is_better=True)
P99: Final = Row("  the slowest hundredth", "µs", True, "send to receive, the slowest hundredth")

GROUPS: Final = ((1, 1), (10_000, 1), (10_000, 4), (10_000, 16))
"""Members of a group, and how many processes they are spread over."""

Figures = dict[tuple[str, Row], list[float]]
"""What was measured: (layer's name, row) -> one figure for each round."""


def group_rows(members: int, processes: int) -> tuple[Row, Row]:
    """The rows of a message to a group: messages pushed, and time."""
    group = f"group, {_some(members, 'member')} in {_some(processes, 'process')}"
    return (
        Row(group, "messages", True),
        Row("  until the last has it", "ms", True, group),
    )


def table(figures: Figures, layers: Sequence[str]) -> list[str]:
    """The medians as lines of text."""
    rows = [row for row in _all_rows() if any((name, row) in figures for name in layers)]
    titles = [f"{row.title}, {row.unit}" for row in rows]
    width = max(map(len, titles)) + 2
    lines = ["".ljust(width) + "".join(name.rjust(17) for name in layers)]
    for title, row in zip(titles, rows, strict=True):
        line = title.ljust(width)
        for name in layers:
            line += _shown(figures.get((name, row))).rjust(17)
        lines.append(line)
    return lines


def ratios(figures: Figures, ours: str, other: str) -> list[str]:
    """
    How many times better C{ours} was than C{other} in the same round: the
    median, and the worst.
    """
    lines = []
    for row in _all_rows():
        pairs = list(zip(figures.get((ours, row), ()), figures.get((other, row), ()), strict=False))
        if not pairs or row.unit == "messages":
            continue
        times = [b / a if row.less_is_better else a / b for a, b in pairs]
        title = row.about or row.title
        lines.append(f"  {title:42}{median(times):5.2f} x, at worst {min(times):.2f} x")
    return [f"{ours} beside {other}, round by round:", *lines] if lines else []


def _all_rows() -> list[Row]:
    groups = [row for members, processes in GROUPS for row in group_rows(members, processes)]
    return [ONE_BY_ONE, AT_ONCE, BATCHES, P50, P99, *groups]


def _some(count: int, thing: str) -> str:
    plural = "es" if thing.endswith("s") else "s"
    return f"{count:,} {thing}{'' if count == 1 else plural}"


def _shown(values: list[float] | None) -> str:
    if not values:
        return "-"
    middle = median(values)
    return f"{middle:,.0f}" if middle >= 100 else f"{middle:.2f}".rstrip("0").rstrip(".")
