"""What was said, in pieces that a page can take."""

from __future__ import annotations

from typing import Any

from chat.models import Line, Room

PAGE = 50
"""Lines shown at first, and with each look further back."""

CATCH_UP = 200
"""Lines that a page which was away is brought at once; past that it starts anew
with the last L{PAGE}, which is what its reader wants to see anyway."""

KEPT = 5_000
"""Lines kept of each room: the demo's database is not to grow for ever."""


def latest(room: Room) -> list[Line]:
    """The last L{PAGE} lines, oldest first."""
    return list(room.lines.order_by("-pk")[:PAGE])[::-1]


def before(room: Room, pk: int) -> list[Line]:
    """The L{PAGE} lines that stand before the line C{pk}, oldest first."""
    return list(room.lines.filter(pk__lt=pk).order_by("-pk")[:PAGE])[::-1]


def after(room: Room, pk: int) -> tuple[list[Line], bool]:
    """
    What a page that has seen the line C{pk} has missed, oldest first.

    @return: the lines, and whether they follow on what the page has; where not,
        it was away for so long that they are the L{latest}.
    """
    missed = list(room.lines.filter(pk__gt=pk).order_by("pk")[: CATCH_UP + 1])
    if len(missed) <= CATCH_UP:
        return missed, True
    return latest(room), False


def forget_oldest(room: Room) -> None:
    """Drop the lines past the last L{KEPT}."""
    bound = room.lines.order_by("-pk").values_list("pk", flat=True)[KEPT : KEPT + 1].first()
    if bound is not None:
        room.lines.filter(pk__lte=bound).delete()


def shown(line: Line) -> dict[str, Any]:
    """A line as pages get it.  Its text is text: the page never reads it as HTML."""
    return {
        "id": line.pk,
        "author": line.author,
        "name": line.name,
        "text": line.text,
        "at": line.at.isoformat(timespec="milliseconds"),
        "ref": line.ref.hex,
    }
