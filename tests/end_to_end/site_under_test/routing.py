import sys
import time

from site_under_test.noted import noted

from chanserv.django import ConsumeLater, DenyConnection, Group, Message, route


def accept(message: Message) -> None:
    message.reply_channel.send({"accept": True})
    Group("everyone").add(message.reply_channel)


def echo(message: Message) -> None:
    if "text" in message.content:
        if message["text"].startswith("all:"):
            Group("everyone").send({"text": message["text"]})
        else:
            message.reply_channel.send({"text": message["text"]})
    else:
        message.reply_channel.send({"bytes": message["bytes"]})


def leave(message: Message) -> None:
    Group("everyone").discard(message.reply_channel)


def join(message: Message, group: str) -> None:
    """Accept, and join a group that the socket never leaves by itself."""
    message.reply_channel.send({"accept": True})
    Group(group).add(message.reply_channel)


def note_order(message: Message) -> None:
    """Note an event, after longer the earlier it comes."""
    order = message["order"]
    time.sleep(0.002 if order % 4 == 0 else 0)
    noted.append(f"{message.channel.name} {order}")


def accept_and_note(message: Message) -> None:
    note_order(message)
    message.reply_channel.send({"accept": True})


def accept_late(message: Message) -> None:
    time.sleep(0.5)
    message.reply_channel.send({"accept": True, "text": "at last"})


def deny(message: Message) -> None:
    raise DenyConnection


def fail(message: Message) -> None:
    raise RuntimeError("the consumer broke")


def leave_the_process(message: Message) -> None:
    sys.exit(3)


def put_off_once(message: Message) -> None:
    if not message.content.get("__retries__"):
        raise ConsumeLater
    message.reply_channel.send({"text": "later"})


def flood(message: Message) -> None:
    """Send 64 KiB as often as asked for."""
    for _ in range(int(message["text"])):
        message.reply_channel.send({"bytes": b"x" * 65536}, immediately=True)


def close_with(message: Message) -> None:
    message.reply_channel.send({"close": int(message["text"])})


def note_code(message: Message) -> None:
    noted.append(f"disconnect {message['code']}")


def note(message: Message) -> None:
    noted.append(message["note"])


def note_http_disconnect(message: Message) -> None:
    noted.append(f"http.disconnect {message['path']}")


channel_routing = [
    route("websocket.connect", join, path=r"^/group/(?P<group>\w+)/$"),
    route("websocket.connect", accept_and_note, path=r"^/order/$"),
    route("websocket.receive", note_order, path=r"^/order/$"),
    route("websocket.disconnect", note_order, path=r"^/order/$"),
    route("websocket.connect", accept_late, path=r"^/late/$"),
    route("websocket.connect", deny, path=r"^/deny/$"),
    route("websocket.connect", fail, path=r"^/fail/$"),
    route("websocket.receive", fail, path=r"^/fail-later/$"),
    route("websocket.receive", leave_the_process, path=r"^/exit/$"),
    route("websocket.receive", put_off_once, path=r"^/put-off/$"),
    route("websocket.receive", flood, path=r"^/flood/$"),
    route("websocket.receive", close_with, path=r"^/close/$"),
    route("websocket.disconnect", note_code, path=r"^/(close|flood|late)/$"),
    route("note", note),
    route("http.disconnect", note_http_disconnect, path=r"^/later/$"),
    route("websocket.connect", accept),
    route("websocket.receive", echo),
    route("websocket.disconnect", leave),
]
