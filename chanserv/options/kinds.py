"""What a value on the command line may be: how it is read, and how a default is shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final


def read_count(text: str) -> int:
    """Read a whole number."""
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise ValueError("is not a whole number")
    return int(text)


_SIZES: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def read_size(text: str) -> int:
    """Read a number of bytes, such as C{65536}, C{64K}, C{10M} or C{1G}."""
    found = re.fullmatch(r"([0-9]{1,12})([KMG]?)(?:i?B)?", text, re.IGNORECASE)
    if not found:
        raise ValueError("is not a size: write bytes, or 64K, 10M, 1G")
    return int(found[1]) * _SIZES[found[2].upper()]


def read_names(text: str) -> tuple[str, ...]:
    """Read names with commas between them."""
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise ValueError("has an empty name between its commas")
    return names


def read_log_format(text: str) -> str:
    """Read one of the two."""
    if text not in ("text", "json"):
        raise ValueError("is no format: write text or json")
    return text


def read_header(text: str) -> str:
    """Read the name of a header."""
    if not re.fullmatch(r"[!#$%&'*+\-.^`|~0-9A-Za-z]+", text):
        raise ValueError("is not the name of a header")
    return text


_SECONDS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def read_duration(text: str) -> float:
    """Read a time in seconds, such as C{30}, C{1.5}, C{500ms}, C{2m} or C{1h}."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)?", text)
    if not found:
        raise ValueError("is not a time: write seconds, or 500ms, 30s, 2m, 1h")
    return float(found[1]) * _SECONDS[found[2] or ""]


def show_size(size: int) -> str:
    """Write a number of bytes as L{read_size} reads it, as short as can be."""
    for unit in ("G", "M", "K"):
        if size >= _SIZES[unit] and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return str(size)


def show_duration(seconds: float) -> str:
    """Write a time as L{read_duration} reads it."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    return f"{seconds:g}s" if seconds else "0"


@dataclass(frozen=True)
class Kind:
    """
    What kind of value an option takes.

    @ivar shown: what stands for the value in the help; empty for a flag.
    @ivar read: turns the text into the value, or raises L{ValueError} with
        words that follow the option and its text.
    @ivar show: writes a default.
    """

    shown: str
    read: Callable[[str], Any] = str
    show: Callable[[Any], str] = str


FLAG: Final = Kind("")
TEXT: Final = Kind("NAME")
PATH: Final = Kind("PATH")
GLOB: Final = Kind("GLOB")
COUNT: Final = Kind("N", read_count)
HEADER: Final = Kind("HEADER", read_header)
NETWORKS: Final = Kind("NETWORKS", read_names, ",".join)
SIZE: Final = Kind("SIZE", read_size, show_size)
DURATION: Final = Kind("TIME", read_duration, show_duration)
