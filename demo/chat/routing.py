"""The chat's sockets, under C{/ws/chat}."""

from __future__ import annotations

from chanserv.django import route
from chat import conversation, lobby

ROOM = r"^/room/(?P<slug>[-\w]+)/$"
LOBBY = r"^/lobby/$"

channel_routing = [
    route("websocket.connect", conversation.enter, path=ROOM),
    route("websocket.receive", conversation.hear, path=ROOM),
    route("websocket.disconnect", conversation.leave, path=ROOM),
    route("websocket.connect", lobby.enter, path=LOBBY),
    route("websocket.receive", lobby.beat, path=LOBBY),
    route("websocket.disconnect", lobby.leave, path=LOBBY),
]
