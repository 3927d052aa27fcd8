"""
What sentinels watch, asked once and at once: for settings that do not say it.

The shards of a layer are known before it is made, and the layer of the old
stack asked for them while it was made; so this is a plain socket that waits, at
the start of a process, and for no longer than L{PATIENCE} for each sentinel.

Source: the Redis protocol specification (RESP); Redis Sentinel, "SENTINEL MASTERS".
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import IO, Any, Final

from chanserv.errors import ConfigurationError

PATIENCE: Final = 2.0
"""Seconds that one sentinel has for its answer: many times what one takes, and
few enough that the next is asked before anybody thinks of a hang."""

MOST_ITEMS: Final = 10_000
"""Items of a list that are read: past that, it is no sentinel that answers."""

MOST_BYTES: Final = 1_000_000
"""Bytes of one text that are read, for the same reason."""

_QUESTION: Final = b"*2\r\n$8\r\nSENTINEL\r\n$7\r\nMASTERS\r\n"


def services_of(sentinels: Iterable[tuple[str, int]]) -> list[str]:
    """
    The names of the servers that sentinels watch, in the order of the alphabet.

    Blocks.

    @param sentinels: their hosts and ports, asked in turn until one answers.
    @raise ConfigurationError: none did, or it watches nothing.
    """
    problems = []
    for host, port in sentinels:
        try:
            found = _ask(host, port)
        except (OSError, ValueError) as error:
            problems.append(f"{host}:{port}: {error}")
            continue
        if found:
            return found
        problems.append(f"{host}:{port} watches none")
    raise ConfigurationError(
        f"no sentinel tells which servers it watches ({'; '.join(problems)}): give their names "
        f"as services, such as ['mymaster'], or see that a sentinel runs"
    )


def _ask(host: str, port: int) -> list[str]:
    with socket.create_connection((host, port), PATIENCE) as connection:
        connection.sendall(_QUESTION)
        with connection.makefile("rb") as stream:
            masters = _read(stream)
    if not isinstance(masters, list):
        raise ValueError("it does not answer as a sentinel does")
    fields = [dict(zip(one[::2], one[1::2], strict=False)) for one in masters]
    return sorted(one[b"name"].decode() for one in fields if b"name" in one)


def _read(stream: IO[bytes], depth: int = 0) -> Any:
    """One value; a list of them for an array."""
    line = stream.readline(MOST_BYTES)
    if not line.endswith(b"\r\n"):
        raise ValueError("it ended the connection" if not line else "it speaks another protocol")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise ValueError(rest.decode(errors="replace"))
    if kind in (b"+", b":"):
        return rest
    count = int(rest) if rest.lstrip(b"-").isdigit() else None
    if kind == b"$" and count is not None and count <= MOST_BYTES:
        return None if count < 0 else stream.read(count + 2)[:-2]
    if kind == b"*" and count is not None and count <= MOST_ITEMS and depth < 2:
        return [_read(stream, depth + 1) for _ in range(count)]
    raise ValueError("it speaks another protocol")
