from multiprocessing import get_context

from outside.sending import announce

from chanserv.django import Group, Message, route


def join(message: Message, group: str) -> None:
    message.reply_channel.send({"accept": True, "text": "joined"})
    Group(group).add(message.reply_channel)


def fork(message: Message, group: str) -> None:
    """Have a child of the worker say it."""
    child = get_context("fork").Process(target=announce, args=(group, message["text"]))
    child.start()
    child.join()
    Group(group).send({"text": f"the child ended with {child.exitcode}"})


channel_routing = [
    route("websocket.connect", join, path=r"^/(?P<group>\w+)/"),
    route("websocket.receive", fork, path=r"^/(?P<group>\w+)/$"),
]
