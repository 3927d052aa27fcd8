"""
Where Redis servers are: from URLs and C{CONFIG} to one value for each.

SKELETON of the API; the bodies follow in the next commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Server:
    """One shard. C{name}: "host:port/db", "unix:/path/db", "sentinel:service/db"."""

    @property
    def name(self) -> str:
        """Safe for logs; the same in all processes however they wrote the address, so good for the ring."""
        return ""


def servers_from_url(url: str) -> tuple[tuple[Server, ...], dict[str, list[str]]]:
    """Servers, and what else the query says (the layer's options, unparsed)."""
    raise NotImplementedError


def servers_from_config(
    hosts: Sequence[str | tuple[str, int] | Server] | None = None,
    sentinels: Sequence[str | tuple[str, int]] | None = None,
    services: Sequence[str] | None = None,
    connection_kwargs: Mapping[str, Any] | None = None,
) -> tuple[Server, ...]:
    """For the layer's constructor; hosts default to 127.0.0.1:6379."""
    raise NotImplementedError
