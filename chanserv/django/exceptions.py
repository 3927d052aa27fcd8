"""The exceptions that consumers and views of a Django site use, under one roof."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from chanserv.errors import (
    ClientDisconnected,
    ConfigurationError,
    ConsumeLater,
    ConsumerSignal,
    DenyConnection,
)

__all__ = [
    "ClientDisconnected",
    "ConsumeLater",
    "DenyConnection",
    "ImproperChannelLayers",
    "NoConsumer",
    "ResponseLater",
]


class ImproperChannelLayers(ConfigurationError, ImproperlyConfigured):
    """
    The setting C{CHANNEL_LAYERS}, or a routing it names, is wrong.

    One line: the setting, its value, and the way out.
    """


class NoConsumer(LookupError):
    """
    A message came on a channel for which the site has no consumer.

    It happens when the routing of a worker and of what feeds it differ.
    """


class ResponseLater(ConsumerSignal):
    """
    Raised in a view: the answer comes later, from another consumer.

    The view has kept C{request.reply_channel}, or its name; whoever has it
    sends the response there, within the server's time-out for responses.
    """
