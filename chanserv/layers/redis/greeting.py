"""
The first words on a new connection: who we are, and whether it is the right server.

C{HELLO} does it all in one trip, and needs no right of its own: it gives user
and password, names the connection, and answers with the server's version and
role.
"""

from __future__ import annotations

import re
from typing import Any, Final

from chanserv.errors import ChannelLayerError
from chanserv.layers.redis.protocol import Link, Word
from chanserv.layers.redis.refusals import Refused
from chanserv.layers.redis.server import Server

OLDEST: Final = (6, 2)
"""The oldest version of Redis that has what our scripts use."""

DEFAULT_USER: Final = "default"
"""Whom a password without a user is for."""


async def greet(link: Link, server: Server, client_name: str) -> None:
    """
    Log in, choose the database, and look at who answers.

    @param client_name: what the server shall call the connection.
    @raise LayerUnavailable: it is gone, or not a server for us.
    """
    words: list[Word] = ["HELLO", 2]
    if server.password is not None:
        words += ["AUTH", server.username or DEFAULT_USER, server.password]
    try:
        answer = await link.call(*words, "SETNAME", client_name)
    except ChannelLayerError as error:
        raise _plainer(error, server.name) from None
    _look_at(_facts(answer), server)
    if server.db:
        await link.call("SELECT", server.db)


def _plainer(error: ChannelLayerError, name: str) -> ChannelLayerError:
    """The error of C{HELLO}, in what it means."""
    if "unknown command" in str(error):
        return _too_old(name, "it does not know HELLO")
    return error


def _facts(answer: Any) -> dict[str, str]:
    """From names and values in turn."""
    words = [word.decode() if isinstance(word, bytes) else str(word) for word in answer]
    return dict(zip(words[::2], words[1::2], strict=True))


def _look_at(facts: dict[str, str], server: Server) -> None:
    name = server.name
    if facts.get("mode") == "sentinel":
        raise Refused(
            f"Redis {name} is a sentinel: write redis+sentinel://, or sentinels and services",
            "SENTINEL",
            lasting=True,
        )
    if facts.get("mode") == "cluster":
        raise Refused(
            f"Redis {name} is a node of a cluster, which is not supported: give plain servers "
            f"as shards",
            "CLUSTER",
            lasting=True,
        )
    version = facts.get("version", "")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise _too_old(name, f"it is {version or 'of no known version'}")
    if facts.get("role") != "master":
        raise Refused(
            f"Redis {name} is a replica, and takes no writes: the layer needs its master",
            "REPLICA",
        )


def _too_old(name: str, found: str) -> Refused:
    oldest = ".".join(map(str, OLDEST))
    return Refused(
        f"Redis {name} is too old: the layer needs {oldest} or later, and {found}",
        "OLD",
        lasting=True,
    )
