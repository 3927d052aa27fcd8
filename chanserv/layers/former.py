"""
The channel layers of the old stack, as settings name them.

A site that moves here may keep its C{CHANNEL_LAYERS}: where the package that
C{BACKEND} names is installed, it serves; otherwise our own layer of that kind
does, with the same C{CONFIG}.

Source: asgi_redis 1.4, asgi_ipc 1.4, asgiref 1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from twisted.logger import Logger

from chanserv.errors import ConfigurationError
from chanserv.layers.redis.services import services_of

Config = dict[str, Any]

_log = Logger()


def _unchanged(config: Config) -> Config:
    return config


def _redis(config: Config) -> Config:
    """redis-py's URLs of Unix sockets are ours with another scheme."""
    hosts = config.get("hosts")
    if isinstance(hosts, (list, tuple)):
        config["hosts"] = [
            f"redis+{host}" if isinstance(host, str) and host.startswith("unix://") else host
            for host in hosts
        ]
    elif "hosts" in config and not hosts:
        # None stood for the server of this machine.
        del config["hosts"]
    return config


def _sentinels(config: Config) -> Config:
    """Of the layer with Sentinel, C{hosts} were the sentinels, and these told of
    the services where the settings did not."""
    hosts = config.pop("hosts", None)
    if config.get("sentinels") is None:
        config["sentinels"] = hosts or [("localhost", 26379)]
    if not config.get("services"):
        config["services"] = services_of(_pairs(config["sentinels"]))
        _log.info(
            "The sentinels watch {services}: name them as services in CONFIG, so that all "
            "processes have the same shards whatever the sentinels learn later",
            services=config["services"],
        )
    return config


def _pairs(sentinels: object) -> list[tuple[str, int]]:
    try:
        return [(str(host), int(port)) for host, port in sentinels]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"hosts must be a list of the sentinels' hosts and ports, such as "
            f"[('127.0.0.1', 26379)], not {sentinels!r}"
        ) from None


@dataclass(frozen=True)
class Former:
    """
    A layer of the old stack.

    @ivar present: the dotted path of what serves in its place.
    @ivar without_meaning: keys of C{CONFIG} that there is no use for here.
    @ivar of_connections: the same of C{connection_kwargs} in it.
    @ivar translated: makes our C{CONFIG} of the old one, a copy of which it is
        given to change.
    """

    present: str
    without_meaning: frozenset[str] = frozenset()
    of_connections: frozenset[str] = frozenset()
    translated: Callable[[Config], Config] = _unchanged


_OF_REDIS_PY: Final = frozenset(
    {
        "charset",
        "decode_responses",
        "encoding",
        "encoding_errors",
        "errors",
        "max_connections",
        "min_other_sentinels",
        "parser_class",
        "retry_on_timeout",
        "socket_keepalive",
        "socket_keepalive_options",
        "socket_read_size",
    }
)
"""What redis-py's connections took, and ours decide for themselves: a server that is silent
is noticed without keep-alive packets, bytes stay bytes, and the connections are two."""

FORMER_BACKENDS: Final[Mapping[str, Former]] = {
    "asgi_ipc.IPCChannelLayer": Former(
        "chanserv.layers.IPCChannelLayer",
        frozenset({"message_memory", "channel_memory", "group_memory"}),
    ),
    "asgi_redis.RedisChannelLayer": Former(
        "chanserv.layers.RedisChannelLayer", of_connections=_OF_REDIS_PY, translated=_redis
    ),
    "asgi_redis.RedisLocalChannelLayer": Former(
        "chanserv.layers.RedisLocalChannelLayer", of_connections=_OF_REDIS_PY, translated=_redis
    ),
    "asgi_redis.RedisSentinelChannelLayer": Former(
        "chanserv.layers.RedisChannelLayer",
        frozenset({"sentinel_refresh_interval"}),
        _OF_REDIS_PY,
        _sentinels,
    ),
    "asgiref.inmemory.ChannelLayer": Former("chanserv.layers.MemoryChannelLayer"),
}
"""Backends of the old stack, and what serves in their place."""


def present_backend(backend: str, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """
    What serves for C{backend}, and with which C{CONFIG}.

    The log says where that is not what the settings name.
    """
    former = FORMER_BACKENDS.get(backend)
    if former is None or _is_installed(backend):
        return backend, config
    _log.info(
        "BACKEND {former} is not installed, and {present} serves in its place: name that in "
        "CHANNEL_LAYERS",
        former=backend,
        present=former.present,
    )
    kept, left_out = _with_meaning(config, former)
    if left_out:
        _log.info(
            "CONFIG of {present} has no use for {keys}, which {former} had: take it out",
            keys=", ".join(left_out),
            former=backend,
            present=former.present,
        )
    return former.present, former.translated(kept)


def _with_meaning(config: Mapping[str, Any], former: Former) -> tuple[Config, list[str]]:
    """What of C{config} there is a use for, and the names of what there is not."""
    left_out = sorted(former.without_meaning.intersection(config))
    kept = {key: value for key, value in config.items() if key not in left_out}
    kwargs = kept.get("connection_kwargs")
    if isinstance(kwargs, Mapping):
        inside = sorted(former.of_connections.intersection(kwargs))
        kept["connection_kwargs"] = {key: kwargs[key] for key in kwargs if key not in inside}
        left_out += [f"{key} of connection_kwargs" for key in inside]
    return kept, left_out


def _is_installed(backend: str) -> bool:
    """Whether a class of the old stack can be imported; what is broken is told of."""
    package, _, name = backend.rpartition(".")
    try:
        kind = getattr(import_module(package), name)
    except ModuleNotFoundError as error:
        # A later asgiref is there as a rule, without the module.
        if error.name is not None and f"{package}.".startswith(f"{error.name}."):
            return False
        problem: Exception = error
    except Exception as error:
        problem = error
    else:
        return isinstance(kind, type)
    _log.warn(
        "{package} is installed and cannot be used: {kind}: {error}",
        package=package,
        kind=type(problem).__name__,
        error=problem,
    )
    return False
