"""What the programs of the site do: they say something to a group of open sockets."""

from chanserv.django import Group


def announce(group: str, text: str) -> None:
    Group(group).send({"text": text})
