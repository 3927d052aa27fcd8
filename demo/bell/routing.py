"""The long poll, under C{/bell}; the page and the ringing are ordinary views."""

from __future__ import annotations

from bell import consumers
from chanserv.django import route

WAIT = r"^/wait/$"

channel_routing = [
    route("http.request", consumers.wait, path=WAIT),
    route("http.disconnect", consumers.leave, path=WAIT),
]
