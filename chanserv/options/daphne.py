"""
Daphne's options: those that mean the same here under other names, and those that
cannot, with what to use instead.

What is in neither table is an option of ours that Daphne calls so too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chanserv.errors import ConfigurationError

_HOST: Final = "127.0.0.1"
_PORT: Final = "8000"
"""What Daphne takes where only one of the two is given."""

Given = Mapping[str, Sequence[str]]
"""The options of Daphne's on a command line, each with its values in order."""


@dataclass(frozen=True)
class FormerName:
    """
    An option of Daphne's that means what one of ours does.

    @ivar name: as it is written after two dashes.
    @ivar short: as it is written after one, or empty.
    @ivar shown: what stands for its value in the help.
    @ivar ours: the option that it is, in the help.
    """

    name: str
    short: str
    shown: str
    ours: str


FORMER_NAMES: Final = (
    FormerName("bind", "b", "HOST", "--listen=tcp:PORT:interface=HOST"),
    FormerName("port", "p", "PORT", "--listen=tcp:PORT:interface=HOST"),
    FormerName("unix-socket", "u", "PATH", "--listen=unix:PATH"),
    FormerName("fd", "", "N", "--listen=fd:N"),
    FormerName("endpoint", "e", "ENDPOINT", "--listen=ENDPOINT"),
    FormerName("ping-interval", "", "TIME", "--websocket-ping-interval=TIME"),
    FormerName("ping-timeout", "", "TIME", "--websocket-ping-timeout=TIME"),
    FormerName("websocket-timeout", "", "TIME", "--websocket-lifetime=TIME"),
    FormerName("websocket-connect-timeout", "", "TIME", "--websocket-handshake-timeout=TIME"),
    FormerName("verbosity", "v", "N", "1, or 2 and more for a line on each consumer that runs"),
)
"""Those that the help lists."""

SHORT: Final = {"t": "http-timeout", "s": "server-name"}
"""Letters that Daphne has for options of ours."""

WAYS_OUT: Final = {
    "application-close-timeout": (
        "a consumer runs to its end, whether its client is there or not; --stop-timeout says how "
        "long a stop waits for it"
    ),
    "asgi-protocol": (
        "the site is named by --settings, and its consumers are those of its routing; leave it out"
    ),
    "log-fmt": "--log-format=json has log lines as JSON; other forms it has not; leave it out",
    "ws-protocol": (
        "a consumer chooses the subprotocol, by 'subprotocol' in the message that accepts; leave "
        "it out"
    ),
}
"""Those that cannot mean here what they mean there."""


def refusal(name: str) -> ConfigurationError:
    """The word on one of L{WAYS_OUT}."""
    return ConfigurationError(f"--{name} is an option of Daphne's: {WAYS_OUT[name]}")


def argument_refusal(argument: str) -> str:
    """
    What to say to an argument that is no option: perhaps it is the application
    that Daphne is started with.
    """
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", argument):
        return (
            f"{argument!r} is what Daphne serves; here the site is named by its settings, as "
            f"--settings=mysite.settings, and a channel layer of its own by --layer={argument}"
        )
    return (
        f"{argument!r} is no option: options begin with --, and give their value after =, as "
        f"--settings=mysite.settings"
    )


def our_options(given: Given) -> list[tuple[str, str]]:
    """
    Say the same in our own options.

    @return: names and values.
    @raise ConfigurationError: a value can mean nothing here.
    """
    ours: list[tuple[str, str]] = []
    for name, values in given.items():
        if name in _TRANSLATIONS:
            ours += [_TRANSLATIONS[name](_filled(name, value)) for value in values]
    if "bind" in given or "port" in given:
        ours.append(("listen", _tcp(given)))
    return ours


def is_talkative(given: Given) -> bool:
    """
    Whether each consumer that runs is to be named.

    @raise ConfigurationError: the verbosity is none that there is.
    """
    (level,) = given.get("verbosity", ("1",))[-1:]
    if level == "0":
        raise ConfigurationError(
            "--verbosity=0 cannot be had: 'twist --log-level=warn chanserv' logs warnings only"
        )
    if level not in ("1", "2", "3"):
        raise ConfigurationError(f"--verbosity={level} must be 1, 2 or 3")
    return level != "1"


def _filled(name: str, value: str) -> str:
    if not value:
        raise ConfigurationError(f"--{name} needs a value after its =")
    return value


def _quoted(value: str) -> str:
    """C{value} as it stands in an endpoint string."""
    return re.sub(r"([\\:=])", r"\\\1", value)


def _tcp(given: Given) -> str:
    """The endpoint that a host and a port are."""
    host = _filled("bind", _last(given, "bind", _HOST)).strip("[]")
    port = _last(given, "port", _PORT)
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) >= 2**16:
        raise ConfigurationError(f"--port={port} is no port: they go from 0 to 65535")
    return f"tcp:{port}:interface={_quoted(host)}"


def _last(given: Given, name: str, default: str) -> str:
    values = given.get(name, (default,))
    if len(values) > 1:
        raise ConfigurationError(
            f"--{name} is given twice; for a second place to listen, use --listen"
        )
    return values[0]


def _descriptor(value: str) -> tuple[str, str]:
    if not re.fullmatch("[0-9]{1,9}", value):
        raise ConfigurationError(f"--fd={value} is not the number of a descriptor")
    return "listen", f"fd:{value}"


def _lifetime(value: str) -> tuple[str, str]:
    if value == "-1":
        raise ConfigurationError(
            "--websocket-timeout=-1 cannot be had: past the layer's group_expiry a socket would "
            "hear nothing from its groups; leave the option out, so that sockets live that long, "
            "and raise group_expiry"
        )
    return "websocket-lifetime", value


def _handshake(value: str) -> tuple[str, str]:
    if value == "-1":
        raise ConfigurationError(
            "--websocket-connect-timeout=-1 cannot be had: no client waits for ever; give a time, "
            "such as 60"
        )
    return "websocket-handshake-timeout", value


_TRANSLATIONS: Final[dict[str, Callable[[str], tuple[str, str]]]] = {
    "endpoint": lambda value: ("listen", value),
    "unix-socket": lambda value: ("listen", f"unix:{_quoted(value)}"),
    "fd": _descriptor,
    "ping-interval": lambda value: ("websocket-ping-interval", value),
    "ping-timeout": lambda value: ("websocket-ping-timeout", value),
    "websocket-timeout": _lifetime,
    "websocket-connect-timeout": _handshake,
}
