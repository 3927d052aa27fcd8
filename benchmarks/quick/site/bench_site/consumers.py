"""The site's WebSockets on chanserv."""

from bench_site.news import GROUP, items
from chanserv.django import Group, Message, route


def echo(message: Message) -> None:
    """Send back what comes."""
    message.reply_channel.send({"text": message.content["text"]})


def join(message: Message) -> None:
    """One more socket of the group."""
    Group(GROUP).add(message.reply_channel)
    message.reply_channel.send({"accept": True})


def leave(message: Message) -> None:
    """One less."""
    Group(GROUP).discard(message.reply_channel)


def send(message: Message) -> None:
    """Have items sent to the group."""
    for text in items(message.content["text"]):
        Group(GROUP).send({"text": text})


routing = [
    route("websocket.receive", echo, path=r"^/echo/$"),
    route("websocket.receive", send, path=r"^/sender/$"),
    route("websocket.connect", join, path=r"^/member/$"),
    route("websocket.disconnect", leave, path=r"^/member/$"),
]
