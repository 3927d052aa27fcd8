"""The channel layers under the name that an C{asgi.py} of Channels 1.x imports them by."""

from __future__ import annotations

from chanserv.django.layers import channel_layers, get_channel_layer

__all__ = ["channel_layers", "get_channel_layer"]
