"""
The long poll: a request that is answered later, by another one.

C{wait} returns without an answer, and its thread is free at once.  What stays is
the request's reply channel, in a group.  Whoever rings sends the answer there.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from bell import answers
from bell.models import Bell
from bell.patience import patience
from chanserv.django import Group, Message


def wait(message: Message) -> None:
    """Answer when the bell has rung more often than the page knows of."""
    if message.content["method"] != "GET":
        message.reply_channel.send(answers.not_so())
        return
    # First into the group, then the look at the bell: a ring between the two is
    # seen by one of them.  By both does no harm, since a request takes one answer.
    Group(answers.WAITING).add(message.reply_channel)
    bell = Bell.the_one()
    if bell.count != _known(message.content.get("query_string", b"")):
        message.reply_channel.send(answers.news(bell.shown()))
        return
    patience.begin(message.reply_channel.name)


def leave(message: Message) -> None:
    """Forget a request that has been answered, or whose client left."""
    Group(answers.WAITING).discard(message.reply_channel)
    patience.forget(message.reply_channel.name)


def _known(query: bytes) -> int:
    """How many rings the page knows of; -1, which no bell has, where it knows nothing."""
    known = parse_qs(query.decode("ascii", "replace")).get("after", [""])[0]
    return int(known) if known.isascii() and known.isdecimal() and len(known) < 19 else -1
