"""What an ASGI 1 layer of somebody else's says of itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any


def is_asgi1_layer(thing: object) -> bool:
    """Whether C{thing} has the methods that make an object an ASGI 1 layer."""
    return (
        not isinstance(thing, type)
        and callable(getattr(thing, "send", None))
        and any(callable(getattr(thing, name, None)) for name in ("receive", "receive_many"))
    )


def extensions_of(layer: Any) -> set[str]:
    """The extensions of the specification that it has."""
    found = getattr(layer, "extensions", ())
    return set(found) if isinstance(found, Iterable) else set()


def seconds_of(layer: Any, names: Iterable[str], default: float) -> float:
    """The first of the attributes C{names} that is a number, or C{default}."""
    for name in names:
        value = getattr(layer, name, None)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return default


def error_class_of(layer: Any, name: str) -> type[Exception] | tuple[()]:
    """The exception that it calls C{name}, or a tuple that no exception is in."""
    found = getattr(layer, name, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else ()


def takes_block(receive: Callable[..., Any]) -> bool:
    """Whether a layer's C{receive} can be told to block."""
    try:
        parameters = inspect.signature(receive).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(one.name == "block" or one.kind is one.VAR_KEYWORD for one in parameters)
