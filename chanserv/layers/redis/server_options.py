"""
What can be said about a Redis server besides where it is.

The same options come from the query of a URL (C{?ca_certs=/etc/ca.pem}), where
every value is text, and from C{connection_kwargs} of C{CONFIG}, under the names
that redis-py has for them.  Each has one row in L{OPTIONS}.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from chanserv.errors import ConfigurationError

CONNECT_TIMEOUT: Final = 5.0
"""Seconds for a connection to stand, with name look-up and TLS: a far server under load
needs one or two, and whoever waits for it should still hear of the failure."""

REPLY_TIMEOUT: Final = 10.0
"""Seconds that a server may be silent while commands wait: longer than a save to a slow
disk or a large script takes, and short enough that a frozen server is left within the
time that people wait for a page."""

LONGEST_TIMEOUT: Final = 3600.0
"""Seconds; more is milliseconds mistaken for seconds."""

SECRETS: Final = ("password", "sentinel_password", "symmetric_encryption_keys")
"""Options of a URL whose values are shown nowhere."""


def without_secrets(text: str) -> str:
    """
    C{text}, a URL or several, as it may be shown: with no user, password or key.

    What stands before the last C{@} of a URL goes, even where it is malformed.
    """
    names = "|".join(SECRETS)
    shown = []
    for url in re.split(r",(?=\s*[a-z][a-z0-9+.-]*://)", text):
        url = re.sub(rf"\b({names})=[^&]*", r"\1=…", url, flags=re.IGNORECASE)
        shown.append(re.sub(r":.*@", "://…@", url, flags=re.DOTALL))
    return ",".join(shown)


def _text(option: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{option} must be a text that is not empty, not {value!r}")
    return value


def _secret(option: str, value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{option} must be a text that is not empty")
    return value


def _seconds(option: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or not 0 < number <= LONGEST_TIMEOUT:
        raise ConfigurationError(
            f"{option} must be a number of seconds above 0 and at most "
            f"{LONGEST_TIMEOUT:.0f}, not {value!r}"
        )
    return number


def database(option: str, value: object) -> int:
    """The number of a database, from a number or its digits."""
    digits = isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value)
    if digits or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return int(value)  # type: ignore[call-overload,no-any-return]
    raise ConfigurationError(f"{option} must be the number of a database, not {value!r}")


_YES: Final = frozenset({"yes", "true", "on", "1", "required", "cert_required"})
_NO: Final = frozenset({"no", "false", "off", "0", "none", "cert_none"})


def _switch(option: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _YES | _NO:
        return value.lower() in _YES
    raise ConfigurationError(f"{option} must be yes or no, not {value!r}")


def _verification(option: str, value: object) -> bool:
    """From what redis-py takes as C{ssl_cert_reqs}."""
    if value is None or value == ssl.CERT_NONE:
        return False
    if value == ssl.CERT_REQUIRED:
        return True
    if isinstance(value, str) and value.lower() in _YES | _NO:
        return value.lower() in _YES
    raise ConfigurationError(f"{option} must be 'required' or 'none', not {value!r}")


Reading = Callable[[str, object], Any]
"""Makes the value of the option named first from what was given; or raises."""

OPTIONS: Final[Mapping[str, tuple[str, Reading]]] = {
    "username": ("username", _secret),
    "password": ("password", _secret),
    "db": ("db", database),
    "connect_timeout": ("connect_timeout", _seconds),
    "reply_timeout": ("reply_timeout", _seconds),
    "tls": ("tls", _switch),
    "ca_certs": ("ca_certs", _text),
    "certfile": ("certfile", _text),
    "keyfile": ("keyfile", _text),
    "verify": ("verify", _switch),
    "check_hostname": ("check_hostname", _switch),
    "sentinel_username": ("sentinel_username", _secret),
    "sentinel_password": ("sentinel_password", _secret),
    "sentinel_tls": ("sentinel_tls", _switch),
    # As redis-py calls them:
    "socket_connect_timeout": ("connect_timeout", _seconds),
    "socket_timeout": ("reply_timeout", _seconds),
    "ssl": ("tls", _switch),
    "ssl_ca_certs": ("ca_certs", _text),
    "ssl_certfile": ("certfile", _text),
    "ssl_keyfile": ("keyfile", _text),
    "ssl_cert_reqs": ("verify", _verification),
    "ssl_check_hostname": ("check_hostname", _switch),
}
"""Each option's own name (several may mean the same) and how its value is read."""


def read_options(given: Iterable[tuple[str, object]], where: str) -> dict[str, Any]:
    """
    Read options into values by their own names.

    @param given: pairs of a name in L{OPTIONS} and its value.
    @param where: what they stand in, for errors.
    @raise ConfigurationError: a value is wrong, or given twice.
    """
    values: dict[str, Any] = {}
    for option, value in given:
        name, reading = OPTIONS[option]
        if name in values:
            raise ConfigurationError(f"{where} gives {option} twice")
        values[name] = reading(f"{option} of {where}", value)
    return values


def read_connection_kwargs(kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """
    Read C{connection_kwargs} of C{CONFIG}.

    An option that is L{None} counts as not given, as redis-py has it; but for
    C{ssl_cert_reqs}, where it is a value.

    @raise ConfigurationError: there is an option that is not known.
    """
    if not isinstance(kwargs, Mapping | None):
        raise ConfigurationError(
            f"connection_kwargs must be a mapping of options, not a {type(kwargs).__name__}"
        )
    given = kwargs or {}
    for option in given:
        if option not in OPTIONS:
            raise ConfigurationError(
                f"connection_kwargs has the unknown option {option!r}; "
                f"known are {', '.join(sorted(OPTIONS))}"
            )
    return read_options(
        (
            (option, value)
            for option, value in given.items()
            if value is not None or option == "ssl_cert_reqs"
        ),
        "connection_kwargs",
    )
