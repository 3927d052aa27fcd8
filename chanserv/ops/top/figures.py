"""Figures in few characters, for columns."""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = "-"
"""What stands for a figure that is not known."""

_UNITS: Final = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))

_TIMES: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "m"))


def count(number: float | None) -> str:
    """A whole number: C{9999}, C{12.3k}, C{4M}."""
    if number is None:
        return UNKNOWN
    for size, unit in _UNITS:
        # Four digits need no unit.
        if number >= 10 * size or (size > 1_000 and number >= size):
            return (
                f"{number / size:.3g}{unit}"
                if number < 999.5 * size
                else f"{number / size:.0f}{unit}"
            )
    return f"{number:.0f}"


def rate(number: float | None) -> str:
    """How many a second: C{0}, C{0.02}, C{3.1}, C{25}, C{12.3k}."""
    if number is None or number == 0 or number >= 9.95:
        return count(number)
    return f"{number:.1f}" if number >= 0.1 else f"{number:.2f}"


def seconds(time: float | None) -> str:
    """A time: C{0}, C{0.2ms}, C{35ms}, C{1.2s}, C{45s}, C{12m}, C{5h}, C{3d}."""
    if time is None:
        return UNKNOWN
    if time == float("inf"):
        return ">60s"
    if isinstance(time, int) and time < 120:
        # It is not known better.
        return f"{time}s" if time else "0"
    for size, unit in _TIMES:
        if time >= size * (2 if size < 3_600 else 1):
            return f"{time / size:.0f}{unit}"
    if time >= 0.9995:
        return f"{time:.1f}s" if time < 9.95 else f"{time:.0f}s"
    if time <= 0:
        return "0"
    return f"{time * 1000:.1f}ms" if time < 0.00495 else f"{time * 1000:.0f}ms"


def percent(part: float, whole: float) -> str:
    """A share: C{0%}, C{0.03%}, C{12%}."""
    if not whole:
        return UNKNOWN
    share = 100.0 * part / whole
    if share == 0 or share >= 9.95:
        return f"{share:.0f}%"
    return f"{share:.1f}%" if share >= 0.1 else f"{max(share, 0.01):.2f}%"
