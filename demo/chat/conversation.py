"""
A room's sockets.

What a page says and hears are small JSON objects.  It says C{{"say": text,
"ref": uuid}}, C{{"typing": true}}, and C{{"beat": true}} to learn whether
anyone is there.  It hears, by C{"type"}: C{welcome} (who it is, and the lines
it has not seen), C{line}, C{people} (who is here, perhaps with who C{joined}
or C{left}), C{typing}, C{refused}, and C{beat}.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from chanserv.django import DenyConnection, Group, Message, allowed_hosts_only, http_session_user
from chat import history, lobby, presence
from chat.models import MAX_TEXT, Line, Room, Seat
from chat.visitors import Visitor, visitor_of

CLOSE_NAMELESS = 4401
"""Close code: the session holds no name (any more); the page asks for one."""

CLOSE_SEATLESS = 4408
"""Close code: the socket has no seat (any more); the page simply comes again."""

FORGET_EVERY = 100
"""Old lines are dropped with every hundredth: not worth a query each time."""


@allowed_hosts_only
@http_session_user
def enter(message: Message, slug: str) -> None:
    """Let a visitor in, bring the page up to date, and tell the others."""
    room = Room.objects.filter(slug=slug).first()
    if room is None:
        raise DenyConnection(f"there is no room {slug!r}")
    visitor = visitor_of(message.http_session, message.user)
    if visitor is None:
        message.reply_channel.send({"accept": True, "close": CLOSE_NAMELESS})
        return
    # At once, and in this order: the socket is open before it is in the group,
    # and in the group before history is read.  So no line falls between the
    # two; one that comes both ways the page knows by its id.
    message.reply_channel.send({"accept": True}, immediately=True)
    Group(room.group).add(message.reply_channel)
    is_new = presence.sit_down(room, message.reply_channel.name, visitor)
    seen, is_back = _asked(message.content.get("query_string", b""))
    lines, follows = history.after(room, seen) if seen else (history.latest(room), False)
    _answer(
        message,
        type="welcome",
        me=visitor.author,
        name=visitor.name,
        lines=[history.shown(line) for line in lines],
        follows=follows,
        more=len(lines) == history.PAGE,
    )
    # One who was only cut off does not join anew.
    _tell_people(room, joined=visitor if is_new and not is_back else None)


def hear(message: Message, slug: str) -> None:
    """Do what a page says."""
    seat = Seat.objects.select_related("room").filter(pk=message.reply_channel.name).first()
    if seat is None:
        message.reply_channel.send({"close": CLOSE_SEATLESS})
        return
    match _parsed(message.content.get("text")):
        case {"say": str(text), "ref": str(ref)}:
            _say(message, seat, text.strip(), ref)
        case {"typing": True}:
            _tell(seat.room, type="typing", author=seat.author, name=seat.name)
        case {"beat": True}:
            _answer(message, type="beat")
        case _:
            _answer(message, type="refused", ref=None, why="That was no message of this page.")


def leave(message: Message, slug: str) -> None:
    """Tell the others that a socket has closed, if it was its visitor's last."""
    room = Room.objects.filter(slug=slug).first()
    if room is None:
        return
    Group(room.group).discard(message.reply_channel)
    left = presence.stand_up(room, message.reply_channel.name)
    if left is not None:
        _tell_people(room, left=left)


def _say(message: Message, seat: Seat, text: str, ref: str) -> None:
    problem = "Nothing to say?" if not text else ""
    if len(text) > MAX_TEXT:
        problem = f"That is {len(text):,} letters long; {MAX_TEXT:,} is the most."
    try:
        key = UUID(ref)
    except ValueError:
        problem = "That was no message of this page."
    if problem:
        _answer(message, type="refused", ref=ref, why=problem)
        return
    line, is_new = Line.objects.get_or_create(
        room=seat.room,
        ref=key,
        defaults={"author": seat.author, "name": seat.name, "text": text},
    )
    if not is_new:
        _answer(message, type="line", line=history.shown(line))
        return
    _tell(seat.room, type="line", line=history.shown(line))
    if line.pk % FORGET_EVERY == 0:
        history.forget_oldest(seat.room)


def _tell_people(room: Room, joined: Visitor | None = None, left: Visitor | None = None) -> None:
    _tell(
        room,
        type="people",
        people=[vars(visitor) for visitor in presence.people(room)],
        joined=vars(joined) if joined else None,
        left=vars(left) if left else None,
    )
    lobby.announce(room)


def _tell(room: Room, **news: Any) -> None:
    Group(room.group).send({"text": json.dumps(news)})


def _answer(message: Message, **news: Any) -> None:
    message.reply_channel.send({"text": json.dumps(news)})


def _asked(query: bytes) -> tuple[int, bool]:
    """The last line the page has seen (0 for none), and whether it was here before."""
    asked = parse_qs(query.decode("ascii", "replace"))
    after = asked.get("after", ["0"])[0]
    seen = int(after) if after.isascii() and after.isdecimal() and len(after) < 19 else 0
    return seen, "back" in asked


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except ValueError:
        return None
