"""What is known of a Redis server before there is a connection to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from chanserv.layers.redis.server_options import CONNECT_TIMEOUT, REPLY_TIMEOUT

PORT: Final = 6379
"""Redis's own."""

SENTINEL_PORT: Final = 26379
"""Sentinel's own."""

Address: TypeAlias = tuple[str, int]
"""A host and a TCP port."""


@dataclass(frozen=True)
class Tls:
    """
    How a TLS connection is made.

    @ivar ca_certs: the file of the authorities to trust; L{None} for the platform's.
    @ivar certfile: the file of our own certificate, where the server asks for one.
    @ivar keyfile: the file of its key; L{None} where both are in one.
    @ivar verify: whether the server's certificate must be signed by an authority.
    @ivar check_hostname: whether it must name the host.
    """

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    verify: bool = True
    check_hostname: bool = True


@dataclass(frozen=True)
class Watched:
    """
    The sentinels that know where a server is.

    @ivar sentinels: where they listen.
    @ivar service: what they call the server.
    """

    sentinels: tuple[Address, ...]
    service: str
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None


@dataclass(frozen=True)
class Server:
    """
    One server, a shard of a layer.

    @ivar path: its Unix socket; then C{host} and C{port} do not count.
    @ivar watched: the sentinels to ask for its address; then neither of the above counts.
    @ivar db: the number of the database.
    @ivar connect_timeout: seconds for a connection to stand.
    @ivar reply_timeout: seconds that it may be silent while commands wait.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    path: str | None = None
    watched: Watched | None = None
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    connect_timeout: float = CONNECT_TIMEOUT
    reply_timeout: float = REPLY_TIMEOUT

    @property
    def name(self) -> str:
        """
        C{host:port/db}, C{unix:/path}, C{unix:/path?db=1} or C{sentinel:service/db}.

        It can be shown.  It says nothing of how a process connects, so
        processes that write the same host agree on it.
        """
        if self.watched is not None:
            return f"sentinel:{self.watched.service}/{self.db}"
        if self.path is not None:
            # A number behind a slash would be taken for the name of a file.
            return f"unix:{self.path}" + (f"?db={self.db}" if self.db else "")
        return f"{shown_address((self.host, self.port))}/{self.db}"


def shown_address(address: Address) -> str:
    """C{host:port}, with brackets where they are needed."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
