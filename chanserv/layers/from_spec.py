"""
From what an operator wrote to a channel layer.

A I{spec} is a URL (C{memory:?capacity=500}), the dotted path of a layer object
(C{mysite.asgi:channel_layer}), or an entry of C{CHANNEL_LAYERS}, a mapping
with C{BACKEND} and C{CONFIG}.  Whatever is wrong with it is answered by a
L{ConfigurationError} of one line.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Final, TypeAlias, cast
from urllib.parse import parse_qsl

from chanserv.errors import ConfigurationError
from chanserv.interfaces import IBlockingChannelLayer, IChannelLayer
from chanserv.layers.asgi1 import Asgi1ChannelLayer
from chanserv.layers.asgi1_traits import is_asgi1_layer
from chanserv.layers.former import present_backend
from chanserv.layers.memory import MemoryChannelLayer
from chanserv.layers.redis.addresses import URL_SCHEMES, servers_from_url
from chanserv.layers.redis.server_options import OPTIONS, without_secrets
from chanserv.layers.url_options import number_option, read_layer_options, text_option

Spec: TypeAlias = "str | Mapping[str, object]"

_DOTTED: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\Z")
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*):(.*)\Z", re.DOTALL)


class ReactorNeeded(ConfigurationError):
    """
    A layer was to be made without a reactor, and cannot be.

    All else about it has been found right by then.
    """


def make_layer(
    spec: Spec, reactor: Any, config: Mapping[str, object] | None = None
) -> IChannelLayer:
    """
    Make, or find, the layer that C{spec} tells of.

    @param reactor: what it lives on; L{None} in a process that runs none.
    @param config: options that count before those in C{spec}, by the names
        that C{CONFIG} has them under.
    @raise ReactorNeeded: C{reactor} is L{None}, and the layer cannot do without.
    @raise ConfigurationError: C{spec} is wrong; one line says what would be right.
    """
    config = config or {}
    if isinstance(spec, Mapping):
        return _from_settings(spec, reactor, config)
    if not isinstance(spec, str):
        raise ConfigurationError(
            f"a channel layer must be given as a URL, a dotted path or a mapping with "
            f"BACKEND, not {spec!r}"
        )
    found = _SCHEME.match(spec)
    if found and found[1] in SCHEMES:
        return SCHEMES[found[1]](found[2], reactor, config)
    if _DOTTED.match(spec):
        if config:
            raise ConfigurationError(
                f"{spec!r} names a layer that is already made: it takes no {', '.join(config)}"
            )
        return _from_dotted_path(spec, reactor)
    raise ConfigurationError(f"unknown channel layer {without_secrets(spec)!r}: {_what_is_known()}")


# URLs

Maker: TypeAlias = Callable[[str, Any, Mapping[str, object]], IChannelLayer]
"""Makes a layer from what follows the scheme and its colon, the reactor, and
options that count before those in the URL."""


def _memory_from_url(rest: str, reactor: Any, config: Mapping[str, object]) -> IChannelLayer:
    """C{memory:}, with options after a C{?}; C{channel_capacity=GLOB:N} may come often."""
    path, _, query = rest.partition("?")
    if path:
        raise ConfigurationError(
            f"memory:{path} names something: a memory layer has no name; write 'memory:', "
            f"or 'memory:?capacity=500'"
        )
    options = read_layer_options("memory", parse_qsl(query, keep_blank_values=True))
    given = {**options, **config}
    _check_config("memory:", MemoryChannelLayer, given)
    return _provided(_made(MemoryChannelLayer, reactor, given), "memory:")


_REDIS: Final = ("chanserv.layers.redis.layer", "RedisChannelLayer")
"""Imported when it is asked for: it brings a library and a driver along."""


def _redis_from_url(
    scheme: str, rest: str, reactor: Any, config: Mapping[str, object]
) -> IChannelLayer:
    """
    C{redis:} and its like, with commas between the URLs of shards.

    Options of the layer may stand in any of these.
    """
    servers, query = servers_from_url(f"{scheme}:{rest}")
    options = read_layer_options(
        scheme,
        query,
        single={
            "prefix": text_option,
            "stats_prefix": text_option,
            "reader_lease": number_option,
            "owner_lease": number_option,
        },
        repeated={"symmetric_encryption_keys": text_option},
        also=OPTIONS,
    )
    given = {"hosts": servers, **options, **config}
    kind = _imported(*_REDIS, f"{scheme}:")
    _check_config(f"{scheme}:", kind, given)
    return _provided(_made(kind, reactor, given), f"{scheme}:")


_IPC: Final = ("chanserv.layers.ipc.layer", "IPCChannelLayer")
"""Imported when it is asked for."""


def _ipc_from_url(rest: str, reactor: Any, config: Mapping[str, object]) -> IChannelLayer:
    """C{ipc:NAME}, with options after a C{?}."""
    name, _, query = rest.partition("?")
    options = read_layer_options(
        "ipc",
        parse_qsl(query, keep_blank_values=True),
        single={
            "directory": text_option,
            "patience": number_option,
            "answer_timeout": number_option,
        },
    )
    given = {"prefix": name, **options, **config}
    kind = _imported(*_IPC, "ipc:")
    _check_config("ipc:", kind, given)
    return _provided(_made(kind, reactor, given), "ipc:")


SCHEMES: Final[dict[str, Maker]] = {
    "ipc": _ipc_from_url,
    "memory": _memory_from_url,
    **{scheme: partial(_redis_from_url, scheme) for scheme in URL_SCHEMES},
}
"""What a URL may begin with.  A layer is added by its line here."""


# CHANNEL_LAYERS


def _from_settings(
    settings: Mapping[str, object], reactor: Any, more: Mapping[str, object]
) -> IChannelLayer:
    backend = settings.get("BACKEND")
    if not isinstance(backend, str):
        raise ConfigurationError(
            "a channel layer's settings need BACKEND, the dotted path of its class, such as "
            f"'chanserv.layers.MemoryChannelLayer'; this has {backend!r}"
        )
    config = settings.get("CONFIG") or {}
    if not isinstance(config, Mapping):
        raise ConfigurationError(f"CONFIG of {backend} must be a mapping, not {config!r}")
    backend, config = present_backend(backend, {**config, **more})
    kind = _imported(*backend.rpartition(".")[::2], f"BACKEND {backend!r}")
    if not callable(kind):
        raise ConfigurationError(f"BACKEND {backend!r} is no class: {kind!r}")
    _check_config(backend, kind, config)
    try:
        layer = _made(kind, reactor, config)
    except Exception as error:
        # Other people's layers have their own ways to say what is wrong.
        ours = isinstance(kind, type) and IChannelLayer.implementedBy(kind)
        if isinstance(error, ConfigurationError) or (
            ours and not isinstance(error, (TypeError, ValueError))
        ):
            raise
        raise ConfigurationError(f"CONFIG of {backend} is refused: {_one_line(error)}") from error
    return _adapted(layer, f"BACKEND {backend!r}", reactor)


def _made(kind: Any, reactor: Any, config: Mapping[str, Any]) -> Any:
    """
    Make a layer of the class C{kind}, of C{config} that has been checked.

    @raise ReactorNeeded: there is no reactor, and the layer has no face that
        does without.
    """
    ours = isinstance(kind, type) and IChannelLayer.implementedBy(kind)
    if reactor is None and ours and not hasattr(kind, "blocking_face"):
        raise ReactorNeeded(
            f"{kind.__name__} lives on a reactor, and none was given: in a process that runs "
            f"none, make it with chanserv.layers.blocking_layer"
        )
    if getattr(reactor, "for_guests", False) and hasattr(kind, "for_guest"):
        return kind.for_guest(reactor, **config)
    if hasattr(kind, "for_reactor"):
        return kind.for_reactor(reactor, **config)
    return kind(**config)


_GIVEN_BY_US: Final = frozenset({"reactor", "clock", "call_from_thread"})
"""What C{for_reactor} gives to the class."""


def _check_config(backend: str, kind: Callable[..., object], config: Mapping[Any, Any]) -> None:
    """Refuse keys that C{kind} does not take, naming those that it does, and
    ask for those that it must have."""
    try:
        signature = inspect.signature(kind)
    except (TypeError, ValueError):
        return
    parameters = [one for one in signature.parameters.values() if one.name not in _GIVEN_BY_US]
    for one in parameters:
        named = one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        if named and one.default is one.empty and one.name not in config:
            raise ConfigurationError(f"CONFIG of {backend} needs the key {one.name!r}")
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return
    known = {one.name for one in parameters if one.kind is not one.POSITIONAL_ONLY}
    unknown = [key for key in config if key not in known]
    if unknown:
        raise ConfigurationError(
            f"CONFIG of {backend} has the unknown key {unknown[0]!r}; "
            f"known are {', '.join(sorted(known)) or 'none'}"
        )


# Dotted paths


def _from_dotted_path(spec: str, reactor: Any) -> IChannelLayer:
    module, _, attribute = spec.partition(":")
    found = _imported(module, attribute, f"channel layer {spec!r}")
    return _adapted(found, repr(spec), reactor)


def _imported(module: str, attribute: str, what: str) -> Any:
    if not module or not attribute:
        raise ConfigurationError(f"{what} is no dotted path: write module.Name")
    try:
        found: Any = import_module(module)
    except Exception as error:
        raise ConfigurationError(
            f"{what}: cannot import {module}: {type(error).__name__}: {_one_line(error)}"
        ) from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigurationError(f"{what}: {module} has no {attribute}") from None
    return found


def _adapted(layer: Any, what: str, reactor: Any) -> IChannelLayer:
    """
    C{layer}, or what a server can use of it: the layer behind a blocking face,
    an ASGI 1 layer of somebody else's behind an adapter.

    @raise ConfigurationError: it is nothing of that kind.
    """
    if IChannelLayer.providedBy(layer) or not is_asgi1_layer(layer):
        return _provided(layer, what)
    # A wrapper, such as channel_layers["default"], has the face in it.
    face = getattr(layer, "channel_layer", layer)
    if not IBlockingChannelLayer.providedBy(face):
        return Asgi1ChannelLayer(layer, reactor)
    if not hasattr(face, "layer_for"):
        raise ConfigurationError(
            f"{what} is the blocking face of a channel layer, which a server cannot live on: "
            f"name the layer itself, by its alias in CHANNEL_LAYERS or a URL"
        )
    return cast(IChannelLayer, face.layer_for(reactor))


def _provided(layer: object, what: str) -> IChannelLayer:
    if not IChannelLayer.providedBy(layer):
        raise ConfigurationError(
            f"{what} is not a channel layer: it gives {type(layer).__name__}, which does not "
            f"provide chanserv.interfaces.IChannelLayer, nor has the send and receive of ASGI 1"
        )
    return layer


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _what_is_known() -> str:
    schemes = ", ".join(f"'{scheme}:'" for scheme in sorted(SCHEMES))
    return f"known are {schemes} and the dotted path of a layer object, 'module:attribute'"
