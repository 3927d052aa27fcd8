"""
Where Redis servers are: from URLs and C{CONFIG} to one L{Server} for each shard.

::

    redis://[user][:password]@host:port/db         TCP
    rediss://...                                   TLS, verified
    redis+unix:///path.sock?db=1&password=...      a Unix socket
    redis+sentinel://[user:password@]host:port,host:port/service[,service2][/db]

Several URLs with commas between them are several shards, and so are several
services of one Sentinel.  What follows the C{?} are options of the server (see
L{chanserv.layers.redis.server_options}) and, in the URL of a layer, options of
the layer.

No error and no C{repr()} of this module shows a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from chanserv.errors import ConfigurationError
from chanserv.layers.redis.server import PORT, SENTINEL_PORT, Address, Server, Tls, Watched
from chanserv.layers.redis.server_options import (
    OPTIONS,
    database,
    read_connection_kwargs,
    read_options,
    without_secrets,
)

Query: TypeAlias = list[tuple[str, str]]
"""Options as they stand in a URL."""

Host: TypeAlias = "str | Sequence[Any] | Server"
"""What C{hosts} holds: URLs, or pairs of a host and a port."""


def servers_from_url(urls: str) -> tuple[tuple[Server, ...], Query]:
    """
    Read the URL of a layer.

    @param urls: one URL, or several with commas between them.
    @return: a server for each shard; and the options of the query that are
        none of a server's, in order.
    @raise ConfigurationError: C{urls} is wrong.
    """
    servers: list[Server] = []
    rest: Query = []
    for url in re.split(r",\s*(?=[a-z][a-z0-9+.-]*://)", urls):
        found, others = _read(url, {})
        servers += found
        rest += others
    return _all_different(servers), rest


def servers_from_config(
    hosts: Sequence[Host] | None = None,
    sentinels: Sequence[Host] | None = None,
    services: Sequence[str] | None = None,
    connection_kwargs: Mapping[str, Any] | None = None,
) -> tuple[Server, ...]:
    """
    Read C{CONFIG}.

    @param hosts: the servers; without these and C{sentinels}, the one at
        C{127.0.0.1:6379}.
    @param sentinels: where sentinels listen, in place of C{hosts}.
    @param services: what they call the servers, one for each shard.
    @param connection_kwargs: options of all servers; what a URL says counts before.
    @raise ConfigurationError: something is wrong with these.
    """
    values = read_connection_kwargs(connection_kwargs)
    if sentinels is not None or services is not None:
        if hosts is not None:
            raise ConfigurationError("give hosts, or sentinels and services, and not both")
        return _all_different(_from_sentinels(sentinels, services, values))
    if hosts is None:
        hosts = [("127.0.0.1", PORT)]
    if isinstance(hosts, (str, bytes)) or not isinstance(hosts, Sequence) or not hosts:
        raise ConfigurationError(
            f"hosts must be a list of URLs and (host, port) pairs, such as "
            f"['redis://127.0.0.1/0'], not {_shown(hosts)}"
        )
    if values and any(isinstance(host, Server) for host in hosts):
        raise ConfigurationError(
            "connection_kwargs are for the servers in hosts: give the options of one in a URL "
            "in that, such as redis://127.0.0.1/0?socket_timeout=5"
        )
    return _all_different([server for host in hosts for server in _from_host(host, values)])


def _from_host(host: Host, values: Mapping[str, Any]) -> list[Server]:
    if isinstance(host, Server):
        return [host]
    if not isinstance(host, str):
        name, port = _pair("hosts", host)
        return [_made({**values}, "hosts", host=name, port=port)]
    found, others = _read(host, values)
    if others:
        raise ConfigurationError(
            f"{without_secrets(host)} in hosts has the unknown option {others[0][0]!r}: options "
            f"of the layer are keys of CONFIG; a server's are {', '.join(sorted(OPTIONS))}"
        )
    return found


def _from_sentinels(
    sentinels: Sequence[Host] | None, services: Sequence[str] | None, values: dict[str, Any]
) -> list[Server]:
    if not isinstance(sentinels, (list, tuple)) or not sentinels:
        raise ConfigurationError(
            "sentinels must be a list of (host, port) pairs or redis:// URLs, such as "
            "[('127.0.0.1', 26379)]"
        )
    if (
        not isinstance(services, (list, tuple))
        or not services
        or not all(isinstance(one, str) and one for one in services)
    ):
        raise ConfigurationError(
            "services must be a list of what the sentinels call the servers, such as ['mymaster']"
        )
    addresses: list[Address] = []
    for one in sentinels:
        if not isinstance(one, str):
            addresses.append(_pair("sentinels", one))
            continue
        parts = _split(one if "//" in one else f"redis://{one}")
        _only_an_address(parts, one)
        user, password = _user_of(parts)
        _agree(values, "sentinel_username", user)
        _agree(values, "sentinel_password", password)
        if parts.scheme == "rediss":
            values["sentinel_tls"] = True
        addresses += _addresses(parts, one, SENTINEL_PORT)
    return [_watched(values, addresses, service, "CONFIG") for service in services]


def _only_an_address(parts: SplitResult, url: str) -> None:
    if parts.scheme not in ("redis", "rediss") or parts.path.strip("/") or parts.query:
        raise ConfigurationError(
            f"{without_secrets(url)} in sentinels must be redis://[user:password@]host:port"
        )


def _agree(values: dict[str, Any], option: str, value: str | None) -> None:
    if value is not None and values.setdefault(option, value) != value:
        raise ConfigurationError(f"the sentinels must all have the same {option}")


# One URL


def _read(url: str, values: Mapping[str, Any]) -> tuple[list[Server], Query]:
    """The servers of one URL, with C{values} where it says nothing, and the
    options that are none of theirs."""
    parts = _split(url)
    where = without_secrets(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    said = read_options(((key, value) for key, value in given if key in OPTIONS), where)
    user, password = _user_of(parts)
    for option, value in (("username", user), ("password", password)):
        if value is not None:
            if option in said:
                raise ConfigurationError(f"{where} gives {option} twice")
            said[option] = value
    others = [(key, value) for key, value in given if key not in OPTIONS]
    return _READINGS[parts.scheme](parts, where, {**values, **said}, said), others


def _tcp(
    parts: SplitResult, where: str, values: dict[str, Any], said: Mapping[str, Any]
) -> list[Server]:
    addresses = _addresses(parts, where, PORT)
    if len(addresses) != 1:
        raise ConfigurationError(
            f"{where} has several hosts: write one URL for each shard, with commas between them"
        )
    path = parts.path.strip("/")
    if path:
        _set_database(path, where, values, said)
    if parts.scheme == "rediss":
        values["tls"] = True
    return [_made(values, where, host=addresses[0][0], port=addresses[0][1])]


def _unix(
    parts: SplitResult, where: str, values: dict[str, Any], said: Mapping[str, Any]
) -> list[Server]:
    _, _, host = parts.netloc.rpartition("@")
    path = unquote(parts.path)
    if host or not path.strip("/"):
        raise ConfigurationError(
            f"{where} must name a socket by its whole path, such as redis+unix:///run/redis.sock"
        )
    if values.pop("tls", False):
        raise ConfigurationError(f"{where}: a Unix socket has no TLS")
    return [_made(values, where, path=path)]


def _sentinel(
    parts: SplitResult, where: str, values: dict[str, Any], said: Mapping[str, Any]
) -> list[Server]:
    addresses = _addresses(parts, where, SENTINEL_PORT)
    services, _, path = parts.path.strip("/").partition("/")
    names = [unquote(name) for name in services.split(",")]
    if not all(names):
        raise ConfigurationError(
            f"{where} must name what the sentinels call the server, such as "
            f"redis+sentinel://127.0.0.1:26379/mymaster"
        )
    if path:
        _set_database(path, where, values, said)
    return [_watched(dict(values), addresses, name, where) for name in names]


_READINGS: Final = {
    "redis": _tcp,
    "rediss": _tcp,
    "redis+unix": _unix,
    "redis+sentinel": _sentinel,
}

URL_SCHEMES: Final = frozenset(_READINGS)
"""What the URL of a Redis layer may begin with."""


_ESCAPE: Final = (
    "what is special in a name or a password must be written as %XX: %40 for '@', %2F for '/', "
    "%23 for '#'"
)


def _split(url: str) -> SplitResult:
    where = without_secrets(url)
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"{where} is no URL: {error}") from None
    if parts.scheme not in _READINGS or not url.startswith(f"{parts.scheme}://"):
        known = ", ".join(f"{scheme}://" for scheme in _READINGS)
        raise ConfigurationError(f"{where} is no URL of a Redis server: these begin with {known}")
    if "#" in url or "@" in parts.path + parts.query:
        raise ConfigurationError(f"{where}: {_ESCAPE}")
    return parts


def _user_of(parts: SplitResult) -> tuple[str | None, str | None]:
    """User and password, where they are given.  What stands alone before the
    C{@} with no colon would be the user's name."""
    before, _, _ = parts.netloc.rpartition("@")
    user, _, password = before.partition(":")
    if user and not password:
        raise ConfigurationError(
            f"{without_secrets(parts.geturl())} has a user without a password: write "
            f"user:password@, or :password@ for the default user"
        )
    return unquote(user) or None, unquote(password) or None


def _addresses(parts: SplitResult, where: str, default: int) -> list[Address]:
    _, _, hosts = parts.netloc.rpartition("@")
    if not hosts:
        raise ConfigurationError(
            f"{without_secrets(where)} names no host: write {parts.scheme}://127.0.0.1:{default}"
            f"{parts.path or '/0'}, say"
        )
    return [_address(host, without_secrets(where), default) for host in hosts.split(",")]


def _address(text: str, where: str, default: int) -> Address:
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.%]+)\]|([^\[\]:/\s]+))(?::([0-9]{1,5}))?", text)
    if found is None:
        # What stands there may be a part of a password.
        raise ConfigurationError(f"{where} has no host:port where one belongs; {_ESCAPE}")
    port = int(found[3] or default)
    if not 0 < port < 65536:
        raise ConfigurationError(f"{where}: there is no port {port}")
    return (found[1] or found[2]).lower(), port


def _set_database(path: str, where: str, values: dict[str, Any], said: Mapping[str, Any]) -> None:
    if "db" in said:
        raise ConfigurationError(f"{where} gives db twice")
    values["db"] = database(f"{path!r} of {where}", path)


def _pair(option: str, value: object) -> Address:
    """What C{CONFIG} has as a (host, port) pair."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        host, port = value
        if isinstance(host, str) and host and isinstance(port, int) and 0 < port < 65536:
            return host.lower(), port
    raise ConfigurationError(f"{option} must hold URLs and (host, port) pairs, not {_shown(value)}")


def _shown(value: object) -> str:
    """What is no address, as it may be shown."""
    if isinstance(value, Mapping):
        # One of its values may be a password.
        names = ", ".join(map(str, value)) or "nothing"
        return f"a mapping of {names}: write redis://:PASSWORD@HOST:PORT/DATABASE"
    return without_secrets(repr(value))


# One server


def _made(values: dict[str, Any], where: str, **address: Any) -> Server:
    """A server at C{address}, of option values."""
    for option in ("sentinel_username", "sentinel_password", "sentinel_tls"):
        if option in values:
            raise ConfigurationError(
                f"{where} has {option}, but no sentinels: write redis+sentinel://, or "
                f"sentinels and services"
            )
    return Server(tls=_tls(values, values.pop("tls", False), where), **address, **values)


def _watched(
    values: dict[str, Any], addresses: Sequence[Address], service: str, where: str
) -> Server:
    values = dict(values)
    used, of_sentinels = values.pop("tls", False), values.pop("sentinel_tls", False)
    username, password = (
        values.pop("sentinel_username", None),
        values.pop("sentinel_password", None),
    )
    tls = _tls(values, used or of_sentinels, where)
    watched = Watched(tuple(addresses), service, username, password, tls if of_sentinels else None)
    return Server(watched=watched, tls=tls if used else None, **values)


_TLS_OPTIONS: Final = ("ca_certs", "certfile", "keyfile", "verify", "check_hostname")


def _tls(values: dict[str, Any], used: bool, where: str) -> Tls | None:
    """Take the options of TLS out of C{values}."""
    said = {option: values.pop(option) for option in _TLS_OPTIONS if option in values}
    if not used:
        if said:
            raise ConfigurationError(
                f"{where} has {next(iter(said))}, which is for TLS: write rediss://, or ssl=True "
                f"in connection_kwargs"
            )
        return None
    tls = Tls(**said)
    if tls.keyfile is not None and tls.certfile is None:
        raise ConfigurationError(f"{where} has a keyfile without its certfile")
    return tls


def _all_different(servers: Sequence[Server]) -> tuple[Server, ...]:
    names = [server.name for server in servers]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"the server {name} is given twice: each shard is another")
    return tuple(servers)
