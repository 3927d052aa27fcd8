"""The lobby's sockets: each is told when the people in a room change."""

from __future__ import annotations

import json
from typing import Any

from chanserv.django import DenyConnection, Group, Message, allowed_hosts_only
from chat import presence
from chat.models import Room

LOBBY = "chat.lobby"


@allowed_hosts_only
def enter(message: Message) -> None:
    """Accept the socket, and tell it about all rooms."""
    # At once, before the group is joined: nothing may reach a socket that has
    # not been accepted.
    message.reply_channel.send({"accept": True}, immediately=True)
    Group(LOBBY).add(message.reply_channel)
    rooms = [_shown(room) for room in Room.objects.all()]
    message.reply_channel.send({"text": json.dumps({"rooms": rooms})})


def beat(message: Message) -> None:
    """Answer the page's question whether anyone is there."""
    message.reply_channel.send({"text": json.dumps({"rooms": []})})


def leave(message: Message) -> None:
    """Forget a socket that has closed."""
    Group(LOBBY).discard(message.reply_channel)


def refuse(message: Message) -> None:
    """Refuse a socket on a path of the chat where there is nothing."""
    raise DenyConnection(f"there is no socket at {message.content['path']}")


def announce(room: Room) -> None:
    """Tell every lobby who is in C{room} now."""
    Group(LOBBY).send({"text": json.dumps({"rooms": [_shown(room)]})})


def _shown(room: Room) -> dict[str, Any]:
    names = [visitor.name for visitor in presence.people(room)]
    return {
        "slug": room.slug,
        "url": room.get_absolute_url(),
        "title": room.title,
        "topic": room.topic,
        "names": names,
    }
