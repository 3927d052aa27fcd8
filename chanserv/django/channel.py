"""Sending to channels and groups, from a consumer, a view or anywhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chanserv.django.gathering import current_outbox
from chanserv.django.layers import DEFAULT_CHANNEL_LAYER, ChannelLayerWrapper, channel_layers
from chanserv.messages import Message
from chanserv.names import check_channel, check_group


class _Named:
    """
    What a channel and a group are both: a name on a layer.

    @ivar name: its full name.
    @ivar channel_layer: the wrapper of the layer that it is on.
    """

    __slots__ = ("channel_layer", "name")

    _check: Callable[[str], str]

    def __init__(
        self,
        name: str | bytes,
        alias: str | None = None,
        channel_layer: ChannelLayerWrapper | None = None,
    ) -> None:
        """
        @param name: the name.
        @param alias: which of C{CHANNEL_LAYERS} it is on; the default one.
        @param channel_layer: the layer's wrapper, where it is at hand.
        @raise InvalidChannelName: C{name} is none for this.
        """
        self.name = self._check(name.decode("ascii") if isinstance(name, bytes) else name)
        self.channel_layer = channel_layer or channel_layers[alias or DEFAULT_CHANNEL_LAYER]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, type(self)):
            return self.name == other.name and self.channel_layer is other.channel_layer
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} on {self.channel_layer.alias!r}>"


class Channel(_Named):
    """A channel to send to."""

    __slots__ = ()

    _check = staticmethod(check_channel)

    def send(self, content: Message, immediately: bool = False) -> None:
        """
        Send a message to the channel.

        Within a consumer it goes out when the consumer has ended, in one batch
        with all else that it sends; elsewhere, at once.

        @param content: a dict of the message types.
        @param immediately: do not wait for the consumer's end.
        @raise InvalidMessage: C{content} holds something a message cannot.
        @raise ChannelFull: sent at once, and the channel holds as many messages
            as it may.
        """
        if not immediately:
            outbox = current_outbox(self.channel_layer)
            if outbox is not None:
                outbox.send(self.name, content)
                return
        self.channel_layer.send(self.name, content)


class Group(_Named):
    """A set of channels that are sent to as one."""

    __slots__ = ()

    _check = staticmethod(check_group)

    def add(self, channel: Channel | str) -> None:
        """
        Make C{channel} a member, or renew its membership, at once: whatever is
        sent to the group after this reaches it.
        """
        self.channel_layer.group_add(self.name, _name_of(channel))

    def discard(self, channel: Channel | str) -> None:
        """End the membership of C{channel}, at once."""
        self.channel_layer.group_discard(self.name, _name_of(channel))

    def channels(self) -> list[str]:
        """The names of the members, in no order."""
        members: list[str] = self.channel_layer.group_channels(self.name)
        return members

    def send(self, content: Message, immediately: bool = False) -> None:
        """
        Send a message to each member; when, is as with L{Channel.send}.

        Members whose channel is full miss it.

        @param content: a dict of the message types.
        @param immediately: do not wait for the consumer's end.
        @raise InvalidMessage: C{content} holds something a message cannot.
        """
        if not immediately:
            outbox = current_outbox(self.channel_layer)
            if outbox is not None:
                outbox.send_group(self.name, content)
                return
        self.channel_layer.send_group(self.name, content)


def _name_of(channel: Any) -> str:
    return channel.name if isinstance(channel, Channel) else channel
