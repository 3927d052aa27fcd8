"""
Which consumer gets which message.

A channel without a route has its default: C{http.request} goes to the views of
C{urls.py}, as on any Django site.
"""

from __future__ import annotations

from chanserv.django import include, route
from demo_site import pulse

channel_routing = [
    include("chat.routing.channel_routing", path=r"^/ws/chat"),
    include("bell.routing.channel_routing", path=r"^/bell"),
    route("websocket.receive", pulse.beat, path=r"^/ws/pulse/$"),
    # Every other path is refused: a socket that nobody reads is of no use.
    route("websocket.connect", pulse.begin, path=r"^/ws/pulse/$"),
    route("websocket.connect", pulse.refuse),
]
