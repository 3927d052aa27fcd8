"""Consumers of the site."""

import asyncio
import logging
from typing import Any

from asgiref.sync import sync_to_async

from chanserv.django import (
    Channel,
    ConsumeLater,
    DenyConnection,
    Group,
    Message,
    channel_session,
    channel_session_user,
    channel_session_user_from_http,
)
from chanserv.django.generic.websockets import JsonWebsocketConsumer, WebsocketConsumer

seen: list[tuple[str, dict[str, Any]]] = []
"""What the consumers of plain channels were given: channel and content."""


def note(message: Message) -> None:
    seen.append((message.channel.name, dict(message.content)))


def echo_connect(message: Message) -> None:
    message.reply_channel.send({"accept": True})


def echo_receive(message: Message) -> None:
    if "text" in message:
        message.reply_channel.send({"text": message["text"]})
    else:
        message.reply_channel.send({"bytes": message["bytes"]})


def denied(message: Message) -> None:
    raise DenyConnection


def join_room(message: Message, room: str) -> None:
    message.reply_channel.send({"accept": True})
    Group(f"room-{room}").add(message.reply_channel)


def say_in_room(message: Message, room: str) -> None:
    Group(f"room-{room}").send({"text": f"{room}: {message['text']}"})


def leave_room(message: Message, room: str) -> None:
    Group(f"room-{room}").discard(message.reply_channel)


@channel_session
def count_connect(message: Message) -> None:
    message.channel_session["count"] = 0
    message.reply_channel.send({"accept": True})


@channel_session
def count_receive(message: Message) -> None:
    message.channel_session["count"] += 1
    message.reply_channel.send({"text": str(message.channel_session["count"])})


@channel_session
def count_disconnect(message: Message) -> None:
    seen.append(("count.left", {"count": message.channel_session["count"]}))


@channel_session_user_from_http
def user_connect(message: Message) -> None:
    message.reply_channel.send({"accept": True, "text": message.user.username or "nobody"})


@channel_session_user
def user_receive(message: Message) -> None:
    message.reply_channel.send({"text": message.user.username or "nobody"})


def fail(message: Message) -> None:
    Channel("noted").send({"before": "failure"})
    raise RuntimeError("the consumer broke")


def again(message: Message) -> None:
    raise ConsumeLater


def send_everywhere(message: Message) -> None:
    Channel("noted").send({"number": 1})
    Channel("noted", alias="second").send({"number": 2})
    Channel("noted").send({"number": 3}, immediately=True)
    Group("all").send({"number": 4})


async def note_async(message: Message) -> None:
    seen.append(("async", dict(message.content)))


class ClassEcho(WebsocketConsumer):
    """Echoes, and belongs to a group named for its path."""

    http_user = True

    def connection_groups(self, **kwargs: Any) -> list[str]:
        return [f"class-{kwargs['name']}"]

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        if text == "close":
            self.close(4001)
        elif text == "who":
            self.send(text=self.message.user.username or "nobody")
        elif text is not None and text.startswith("all:"):
            self.group_send(f"class-{kwargs['name']}", text=text)
        else:
            self.send(text=text, bytes=bytes)


class JsonEcho(JsonWebsocketConsumer):
    """Answers with what it was sent, in a list."""

    def receive(self, content: Any = None, **kwargs: Any) -> None:
        self.send([content])


def log(message: Message) -> None:
    """Write to Python's log."""
    logging.getLogger("site.log").warning("asked for %s", message["what"])


async def log_async(message: Message) -> None:
    await asyncio.sleep(0)
    await sync_to_async(log)(message)
