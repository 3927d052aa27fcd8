"""The message that a consumer is called with."""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, ValuesView
from typing import TYPE_CHECKING, Any

from django.utils.functional import cached_property

from chanserv.django.channel import Channel

if TYPE_CHECKING:
    from chanserv.django.layers import ChannelLayerWrapper


class Message:
    """
    One message, with the channel that it came on.

    Its values are read as from a dict: C{message["text"]},
    C{message.get("path")}.  Decorators such as C{channel_session} add
    attributes of their own.

    @ivar content: the message itself, a dict.
    @ivar channel_layer: the wrapper of the layer that it came over.
    """

    channel_session: Any
    http_session: Any
    user: Any

    def __init__(
        self,
        content: dict[str, Any],
        channel_name: str,
        channel_layer: ChannelLayerWrapper,
    ) -> None:
        self.content = content
        self._channel_name = channel_name
        self.channel_layer = channel_layer

    @cached_property
    def channel(self) -> Channel:
        """The channel that it came on."""
        return Channel(self._channel_name, channel_layer=self.channel_layer)

    @cached_property
    def reply_channel(self) -> Channel | None:
        """Where an answer goes: the connection, for what a client sent."""
        name = self.content.get("reply_channel")
        return Channel(name, channel_layer=self.channel_layer) if name else None

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.content[key] = value

    def __contains__(self, key: object) -> bool:
        return key in self.content

    def keys(self) -> KeysView[str]:
        """The keys of the message."""
        return self.content.keys()

    def values(self) -> ValuesView[Any]:
        """The values of the message."""
        return self.content.values()

    def items(self) -> ItemsView[str, Any]:
        """The keys and values of the message."""
        return self.content.items()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of C{key}, or C{default} where the message has none."""
        return self.content.get(key, default)

    def copy(self) -> Message:
        """Another message with the same content, which can be changed apart."""
        return Message(self.content.copy(), self._channel_name, self.channel_layer)

    def __repr__(self) -> str:
        return f"<Message on {self._channel_name!r}: {sorted(self.content)}>"
