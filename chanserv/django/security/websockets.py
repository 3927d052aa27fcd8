"""
Whose pages may open WebSockets here.

Browsers let any page open a WebSocket to any site, and send the site's cookies
with it; the C{Origin} header is how the site can tell.  A client that is no
browser sends none, and has no cookies that were not its own.

Source: RFC 6455, section 10.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import validate_host

from chanserv.django.decorators import around
from chanserv.django.message import Message
from chanserv.errors import DenyConnection

_WHILE_DEVELOPING: Final = (".localhost", "127.0.0.1", "[::1]")
"""What Django allows with C{DEBUG} and an empty C{ALLOWED_HOSTS}."""


def origin_is_allowed(message: Message) -> bool:
    """
    Whether the page behind a C{websocket.connect} message may connect: its
    host is one of C{ALLOWED_HOSTS}, or there is no page.
    """
    origins = [value for name, value in message["headers"] if name == b"origin"]
    if not origins:
        return True
    allowed = settings.ALLOWED_HOSTS
    if settings.DEBUG and not allowed:
        allowed = _WHILE_DEVELOPING
    if len(origins) > 1:
        return False
    try:
        host = urlsplit(origins[0].decode("ascii")).hostname
    except ValueError:
        return False
    if host is None:
        # "null": a page without an origin of its own, such as a sandboxed frame.
        return "*" in allowed
    return validate_host(f"[{host}]" if ":" in host else host, allowed)


def _with_allowed_origin(message: Message, proceed: Callable[[], Any]) -> Any:
    if not origin_is_allowed(message):
        raise DenyConnection("the page that asked is of a host outside ALLOWED_HOSTS")
    return proceed()


allowed_hosts_only: Final = around(_with_allowed_origin)
"""Refuse C{websocket.connect} to pages of hosts outside C{ALLOWED_HOSTS}."""
