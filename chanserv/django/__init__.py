"""
The Django side: a site's consumers and views, run by chanserv's workers.

Put C{"chanserv.django"} into C{INSTALLED_APPS}, above
C{django.contrib.staticfiles}.  The names that users of Channels 1.x know are
all here; each is imported when it is first asked for, so that importing this
package needs no settings.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from chanserv.django.application import DjangoApplication
    from chanserv.django.auth import (
        channel_and_http_session_user_from_http,
        channel_session_user,
        channel_session_user_from_http,
        http_session_user,
        transfer_user,
    )
    from chanserv.django.channel import Channel, Group
    from chanserv.django.exceptions import (
        ClientDisconnected,
        ConsumeLater,
        DenyConnection,
        ResponseLater,
    )
    from chanserv.django.generic.base import BaseConsumer
    from chanserv.django.generic.websockets import JsonWebsocketConsumer, WebsocketConsumer
    from chanserv.django.handler import AsgiHandler, ViewConsumer
    from chanserv.django.layers import DEFAULT_CHANNEL_LAYER, channel_layers, get_channel_layer
    from chanserv.django.message import Message
    from chanserv.django.request import AsgiRequest
    from chanserv.django.routing import include, route, route_class
    from chanserv.django.security.websockets import allowed_hosts_only
    from chanserv.django.sessions import (
        channel_and_http_session,
        channel_session,
        enforce_ordering,
        http_session,
    )
    from chanserv.django.signals import consumer_finished, consumer_started, worker_ready

_HOMES: Final = {
    "application": ["DjangoApplication"],
    "auth": [
        "channel_and_http_session_user_from_http",
        "channel_session_user",
        "channel_session_user_from_http",
        "http_session_user",
        "transfer_user",
    ],
    "channel": ["Channel", "Group"],
    "exceptions": ["ClientDisconnected", "ConsumeLater", "DenyConnection", "ResponseLater"],
    "generic.base": ["BaseConsumer"],
    "generic.websockets": ["JsonWebsocketConsumer", "WebsocketConsumer"],
    "handler": ["AsgiHandler", "ViewConsumer"],
    "layers": ["DEFAULT_CHANNEL_LAYER", "channel_layers", "get_channel_layer"],
    "message": ["Message"],
    "request": ["AsgiRequest"],
    "routing": ["include", "route", "route_class"],
    "security.websockets": ["allowed_hosts_only"],
    "sessions": [
        "channel_and_http_session",
        "channel_session",
        "enforce_ordering",
        "http_session",
    ],
    "signals": ["consumer_finished", "consumer_started", "worker_ready"],
}

_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DEFAULT_CHANNEL_LAYER",
    "AsgiHandler",
    "AsgiRequest",
    "BaseConsumer",
    "Channel",
    "ClientDisconnected",
    "ConsumeLater",
    "DenyConnection",
    "DjangoApplication",
    "Group",
    "JsonWebsocketConsumer",
    "Message",
    "ResponseLater",
    "ViewConsumer",
    "WebsocketConsumer",
    "allowed_hosts_only",
    "channel_and_http_session",
    "channel_and_http_session_user_from_http",
    "channel_layers",
    "channel_session",
    "channel_session_user",
    "channel_session_user_from_http",
    "consumer_finished",
    "consumer_started",
    "enforce_ordering",
    "get_channel_layer",
    "http_session",
    "http_session_user",
    "include",
    "route",
    "route_class",
    "transfer_user",
    "worker_ready",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
