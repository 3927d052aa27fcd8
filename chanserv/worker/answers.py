"""
What a worker tells a client when the consumer of its event did not.

Pure functions from a message, and what its run sent, to one more reply or
none.  A client must never be left to wait for an answer that is not coming.

Source: the ASGI HTTP and WebSocket message format, "Response" and
"Send/Close/Accept".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chanserv.errors import InvalidChannelName
from chanserv.messages import Message, Operation, SealedMessage, Send, seal
from chanserv.names import check_channel

CLOSE_INTERNAL_ERROR: Final = 1011
"""RFC 6455, 7.4.1, and its registry: the server met an unexpected condition."""

CLOSE_TRY_AGAIN_LATER: Final = 1013
"""RFC 6455's registry of close codes: the server is too busy now."""

_PLAIN_TEXT: Final = [b"content-type", b"text/plain; charset=utf-8"]

_FAULT: Final = seal(
    {
        "status": 500,
        "headers": [_PLAIN_TEXT],
        "content": b"500 Internal Server Error: the site failed to answer this request.\n",
    }
)
_UNAVAILABLE: Final = seal(
    {
        "status": 503,
        "headers": [_PLAIN_TEXT, [b"retry-after", b"5"]],
        "content": b"503 Service Unavailable: the site could not take this request now.\n",
    }
)
_CLOSE_FAULT: Final = seal({"close": CLOSE_INTERNAL_ERROR})
_CLOSE_LATER: Final = seal({"close": CLOSE_TRY_AGAIN_LATER})
_DENIAL: Final = seal({"close": True})


def answer_to_fault(channel: str, message: Message, sent: Sequence[Operation]) -> Send | None:
    """
    What the client is told when its consumer raised an exception.

    @param channel: the channel the event came on.
    @param message: the event, as it came.
    @param sent: what the run sent before it failed.
    @return: the reply, or L{None} where nobody waits for one: the event has no
        reply channel, its connection is gone, or the run has answered already.
    """
    match channel:
        case "http.request":
            return _unless_answered(message, sent, _FAULT)
        case "websocket.connect" | "websocket.receive":
            return _unless_closed(message, sent, _CLOSE_FAULT)
    return None


def answer_to_dropped(channel: str, message: Message, sent: Sequence[Operation]) -> Send | None:
    """
    What the client is told when its event was put off too often and dropped.

    Arguments and result are those of L{answer_to_fault}.  A dropped
    C{websocket.receive} leaves the socket open: the event is lost, the
    conversation is not.
    """
    match channel:
        case "http.request":
            return _unless_answered(message, sent, _UNAVAILABLE)
        case "websocket.connect":
            return _unless_closed(message, sent, _CLOSE_LATER)
    return None


def denial(message: Message) -> Send | None:
    """
    The reply that refuses a WebSocket handshake, which its client sees as 403.

    @param message: the C{websocket.connect} event.
    @return: the reply, or L{None} where the event has no reply channel.
    """
    return _reply(message, _DENIAL)


def _unless_answered(
    message: Message, sent: Sequence[Operation], answer: SealedMessage
) -> Send | None:
    channel = message.get("reply_channel")
    if any(type(one) is Send and one.channel == channel for one in sent):
        return None
    return _reply(message, answer)


def _unless_closed(
    message: Message, sent: Sequence[Operation], answer: SealedMessage
) -> Send | None:
    channel = message.get("reply_channel")
    for one in sent:
        if type(one) is Send and one.channel == channel and _closes(one.message):
            return None
    return _reply(message, answer)


def _closes(reply: Message) -> bool:
    close = reply.get("close")
    return close is not None and close is not False


def _reply(message: Message, answer: SealedMessage) -> Send | None:
    try:
        return Send(check_channel(message.get("reply_channel", "")), answer)
    except InvalidChannelName:
        # Any peer can write to a site's own channels: its mistake in this
        # message must not become an error about the consumer's.
        return None
