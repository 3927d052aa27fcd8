"""
Who is here.

Two things know a part of it.  The database knows whose each socket is, but is
not told when an interface server dies with all its sockets.  The room's channel
group knows which sockets there are (a member leaves with its socket, whichever
way that ends), but not whose they are.  So those are here who are in both; a
seat without a socket is never shown, and is swept out when someone next sits
down.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from chanserv.django import Group
from chat.models import Room, Seat
from chat.visitors import Visitor

GRACE = timedelta(seconds=10)
"""A seat is swept only when older: it is made just after its socket joined the
group, and the sweeper may have looked at the group just before."""


def sit_down(room: Room, channel: str, visitor: Visitor) -> bool:
    """
    Give the socket C{channel}, which is in the room's group, a seat.

    @return: whether this visitor was not here yet, with another socket.
    """
    now = timezone.now()
    with transaction.atomic():
        alive = _sockets(room)
        room.seats.filter(since__lt=now - GRACE).exclude(pk__in=alive).delete()
        is_new = not room.seats.filter(author=visitor.author, pk__in=alive).exists()
        Seat.objects.update_or_create(
            pk=channel,
            defaults={
                "room": room,
                "author": visitor.author,
                "name": visitor.name,
                "since": now,
            },
        )
    return is_new


def stand_up(room: Room, channel: str) -> Visitor | None:
    """
    Take away the seat of a socket that has closed.

    @return: whose it was, when it was their last one here.
    """
    with transaction.atomic():
        seat = room.seats.filter(pk=channel).first()
        if seat is None:
            return None
        seat.delete()
        others = room.seats.filter(author=seat.author, pk__in=_sockets(room))
        return None if others.exists() else Visitor(seat.name, seat.author)


def people(room: Room) -> list[Visitor]:
    """Those who are here, each once, by name."""
    seats = room.seats.filter(pk__in=_sockets(room)).values_list("name", "author")
    each = {author: Visitor(name, author) for name, author in seats}
    return sorted(each.values(), key=lambda visitor: (visitor.name.lower(), visitor.author))


def _sockets(room: Room) -> list[str]:
    return Group(room.group).channels()
