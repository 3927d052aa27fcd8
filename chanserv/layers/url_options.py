"""A layer's options in the query of its URL, where every value is text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from chanserv.errors import ConfigurationError

Reading: TypeAlias = Callable[[str, str], Any]
"""Makes the value of the option named first from its text; or raises."""


def number_option(option: str, text: str) -> float:
    """A number of seconds."""
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"{option} must be a number of seconds, not {text!r}") from None


def _count(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"{option} must be a whole number, not {text!r}") from None


def _capacity_rule(option: str, text: str) -> tuple[str, int]:
    pattern, _, capacity = text.rpartition(":")
    if not pattern:
        raise ConfigurationError(
            f"{option} must be a glob and a number, such as 'websocket.*:500', not {text!r}"
        )
    return pattern, _count(f"{option} {text!r} after its ':'", capacity)


def text_option(option: str, text: str) -> str:
    """The text itself."""
    return text


SINGLE: Final[Mapping[str, Reading]] = {
    "expiry": number_option,
    "group_expiry": number_option,
    "capacity": _count,
    "mailbox_capacity": _count,
    "max_message_size": _count,
}
"""What any layer of ours takes once."""

REPEATED: Final[Mapping[str, Reading]] = {
    "channel_capacity": _capacity_rule,
    "redeliver": text_option,
}
"""What it takes any number of times, as a list."""


def read_layer_options(
    scheme: str,
    query: Iterable[tuple[str, str]],
    single: Mapping[str, Reading] | None = None,
    repeated: Mapping[str, Reading] | None = None,
    also: Iterable[str] = (),
) -> dict[str, Any]:
    """
    Read a query into keywords for the class of a layer.

    @param scheme: what the URL begins with, for errors.
    @param query: the options in their order.
    @param single: options of this kind of layer besides L{SINGLE}.
    @param repeated: the same besides L{REPEATED}.
    @param also: options that have been taken out of the query before, for
        errors that tell of all.
    @raise ConfigurationError: an option is unknown, comes twice with different
        values, or its value is wrong.
    """
    all_single = {**SINGLE, **(single or {})}
    all_repeated = {**REPEATED, **(repeated or {})}
    read: dict[str, Any] = {}
    for option, text in query:
        if option in all_repeated:
            read.setdefault(option, []).append(all_repeated[option](option, text))
            continue
        if option not in all_single:
            known = ", ".join(sorted({*all_single, *all_repeated, *also}))
            raise ConfigurationError(f"{scheme}: has no option {option!r}; it has {known}")
        value = all_single[option](option, text)
        if option in read and read[option] != value:
            raise ConfigurationError(f"{scheme}: is given {option} twice, and not alike")
        read[option] = value
    return read
