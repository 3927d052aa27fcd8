"""Consumers of WebSockets as classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

from chanserv.django.channel import Channel, Group
from chanserv.django.generic.base import BaseConsumer, run_to_end
from chanserv.django.message import Message

UNSUPPORTED_DATA: Final = 1003
"""The close code for binary messages where text is spoken (RFC 6455, section 7.4.1)."""

INVALID_DATA: Final = 1007
"""The close code for a text that is not what it should be (likewise)."""


class WebsocketConsumer(BaseConsumer):
    """
    A WebSocket, with a method for each thing that happens on it.

    Override C{connect}, C{receive} and C{disconnect}.

    @cvar groups: the groups that a connection belongs to while it lasts.
    @cvar http_user: carry the user over from the browser's session, as
        C{message.user}; implies C{channel_session_user}.
    @cvar http_user_and_session: give the browser's session as well.
    @cvar strict_ordering: kept for sites that set it; messages of one
        connection always come in order.
    @ivar path: the path of the connection.
    """

    method_mapping: ClassVar[dict[str, str]] = {
        "websocket.connect": "raw_connect",
        "websocket.receive": "raw_receive",
        "websocket.disconnect": "raw_disconnect",
    }
    groups: Iterable[str] | None = None
    http_user: bool = False
    http_user_and_session: bool = False
    strict_ordering: bool = False

    def get_handler(self, message: Message, **kwargs: Any) -> Callable[..., Any]:
        """The method for the message's channel, with the sessions it asked for."""
        self.path: str = message["path"]
        if self.http_user_and_session:
            from chanserv.django.auth import channel_and_http_session_user_from_http

            return channel_and_http_session_user_from_http(self._plain_handler(message))
        if self.http_user:
            from chanserv.django.auth import channel_session_user, channel_session_user_from_http

            plain = self._plain_handler(message)
            if message.channel.name == "websocket.connect":
                return channel_session_user_from_http(plain)
            return channel_session_user(plain)
        return super().get_handler(message, **kwargs)

    def _plain_handler(self, message: Message) -> Callable[..., Any]:
        handler: Callable[..., Any] = getattr(self, self.method_mapping[message.channel.name])
        return handler

    @property
    def reply_channel(self) -> Channel:
        """The connection."""
        channel = self.message.reply_channel
        assert channel is not None, "a WebSocket's messages have a reply channel"
        return channel

    def connection_groups(self, **kwargs: Any) -> Iterable[str]:
        """The groups to join on connecting and to leave on disconnecting."""
        return self.groups or ()

    def raw_connect(self, message: Message, **kwargs: Any) -> None:
        """Join the groups, and call L{connect}."""
        for name in self.connection_groups(**kwargs):
            Group(name, channel_layer=message.channel_layer).add(self.reply_channel)
        run_to_end(self.connect, message, **kwargs)

    def connect(self, message: Message, **kwargs: Any) -> None:
        """A client asks for a connection.  Accepts it; raise C{DenyConnection} to refuse."""
        self.reply_channel.send({"accept": True})

    def raw_receive(self, message: Message, **kwargs: Any) -> None:
        """Call L{receive} with the text or the bytes of a message."""
        text = message.get("text")
        if text is not None:
            run_to_end(self.receive, text=text, **kwargs)
        else:
            run_to_end(self.receive, bytes=message["bytes"], **kwargs)

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        """The client sent a message; one of C{text} and C{bytes} is given."""

    def raw_disconnect(self, message: Message, **kwargs: Any) -> None:
        """Leave the groups, and call L{disconnect}."""
        for name in self.connection_groups(**kwargs):
            Group(name, channel_layer=message.channel_layer).discard(self.reply_channel)
        run_to_end(self.disconnect, message, **kwargs)

    def disconnect(self, message: Message, **kwargs: Any) -> None:
        """The connection has ended; C{message["code"]} says how."""

    def send(
        self,
        text: str | None = None,
        bytes: bytes | None = None,
        close: bool | int = False,
    ) -> None:
        """
        Send the client a message.

        @param close: close the connection after it; a number is the close code.
        """
        self.reply_channel.send(_frame(text, bytes, close))

    @classmethod
    def group_send(
        cls,
        name: str,
        text: str | None = None,
        bytes: bytes | None = None,
        close: bool | int = False,
    ) -> None:
        """Send a message to each connection of the group C{name}."""
        Group(name).send(_frame(text, bytes, close))

    def close(self, status: bool | int = True) -> None:
        """
        Close the connection, or refuse it while it is not accepted.

        @param status: L{True}, or a close code.
        """
        self.reply_channel.send({"close": status})


class JsonWebsocketConsumer(WebsocketConsumer):
    """A WebSocket whose messages are JSON texts."""

    def raw_receive(self, message: Message, **kwargs: Any) -> None:
        """
        Call L{receive} with what a message holds.

        A client that sends bytes, or no JSON, has its connection closed: it is
        its own mistake, and none of the site's to be logged as one.
        """
        text = message.get("text")
        if text is None:
            self.close(UNSUPPORTED_DATA)
            return
        try:
            content = self.decode_json(text)
        except (ValueError, RecursionError):
            self.close(INVALID_DATA)
            return
        run_to_end(self.receive, content, **kwargs)

    def receive(self, content: Any = None, **kwargs: Any) -> None:  # type: ignore[override]
        """The client sent C{content}."""

    def send(self, content: Any, close: bool | int = False) -> None:  # type: ignore[override]
        """Send the client C{content}, as JSON."""
        super().send(text=self.encode_json(content), close=close)

    @classmethod
    def group_send(  # type: ignore[override]
        cls, name: str, content: Any, close: bool | int = False
    ) -> None:
        """Send C{content} as JSON to each connection of the group C{name}."""
        WebsocketConsumer.group_send(name, text=cls.encode_json(content), close=close)

    @classmethod
    def decode_json(cls, text: str) -> Any:
        """
        How incoming texts are read.

        @raise ValueError: this is none; the connection is closed.
        """
        return json.loads(text)

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """How outgoing ones are written."""
        return json.dumps(content)


def _frame(text: str | None, data: bytes | None, close: bool | int) -> dict[str, Any]:
    if text is None and data is None:
        raise ValueError("give text or bytes to send; close() closes without either")
    frame: dict[str, Any] = {"text": text} if text is not None else {"bytes": data}
    if close:
        frame["close"] = close
    return frame
