"""
An endpoint that the interface server listens on.
"""

from __future__ import annotations

import atexit
import errno
import os
import re
import sys
from collections.abc import Generator
from typing import Any, ClassVar, Final

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.errors import ConfigurationError
from chanserv.server.arrivals import accept_waiting, is_own, keep_newcomers_away
from chanserv.server.endpoints import endpoint_of, read_description
from chanserv.server.proxy_line import LINE_TIMEOUT

_ENDPOINT_EXAMPLES: Final = (
    "tcp:8000:interface=127.0.0.1, ssl:443:privateKey=key.pem:certKey=cert.pem or "
    "unix:/run/chanserv.sock"
)


class CannotStart(SystemExit, ConfigurationError):
    """
    Something that only shows when the service starts is wrong, such as a port
    in use.

    It is a L{SystemExit} so that C{twistd -n} and C{twist} end with one line
    and exit code 1 when the start raises it, and an ordinary exception so that
    a C{twistd} that has gone to the background tells its parent, which says it
    and exits with 1.
    """


class Listener(Service):
    """
    One endpoint that an interface server listens on.

    @ivar url: where a browser finds it; the endpoint string until it listens.
    @ivar listening: fires when it listens, or has failed to; L{None} before
        the start and after the stop.
    """

    _log: ClassVar = Logger(namespace="chanserv")

    def __init__(
        self,
        description: str,
        factory: IProtocolFactory,
        reactor: Any,
        endpoint: IStreamServerEndpoint | None = None,
        option: str = "--listen",
        line_timeout: float = LINE_TIMEOUT,
    ) -> None:
        """
        @param description: a Twisted endpoint string.
        @param factory: what serves its connections.
        @param endpoint: what C{description} tells of, where it is made already.
        @param option: that it was given with.
        @param line_timeout: seconds in which the line of a proxy must have come.
        @raise ConfigurationError: C{description} is no endpoint.
        """
        self.url = description
        self.listening: Deferred[IListeningPort | None] | None = None
        self._description = description
        self._factory = factory
        self._reactor = reactor
        self._starting = False
        self._failed_at_once: CannotStart | None = None
        self._endpoint: Any = endpoint
        if endpoint is not None:
            return
        try:
            self._endpoint = endpoint_of(description, reactor, line_timeout)
        except (OSError, ConfigurationError) as error:
            raise ConfigurationError(
                f"{option}={description} cannot be used: {_reason(error)}"
            ) from error
        except Exception as error:
            raise ConfigurationError(
                f"{option}={description} is not an endpoint ({_reason(error)}); right would be "
                f"{_ENDPOINT_EXAMPLES}"
            ) from error

    def privilegedStartService(self) -> None:
        """
        Listen, while this process may still use ports below 1024.

        @raise CannotStart: that cannot be done.
        """
        self._starting, self._failed_at_once = True, None
        self.listening = maybeDeferred(self._endpoint.listen, self._factory)
        self.listening.addCallbacks(self._listens, self._cannot_listen)
        self._starting = False
        if self._failed_at_once is not None:
            raise self._failed_at_once

    def startService(self) -> None:
        """
        Listen, unless that has been done.

        @raise CannotStart: that cannot be done.
        """
        if self.listening is None:
            self.privilegedStartService()
        super().startService()  # type: ignore[no-untyped-call]

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Accept nothing more.  Fires when that is so."""
        super().stopService()  # type: ignore[no-untyped-call]
        listening, self.listening = self.listening, None
        if listening is not None:
            listening.cancel()
            port = yield listening
            if port is not None:
                if is_own(self._description):
                    yield from self._accept_the_last(port)
                yield maybeDeferred(port.stopListening)

    def _accept_the_last(self, port: Any) -> Generator[Deferred[Any], Any, None]:
        """Take in all whose connection is made, or is being made; they may have asked already."""
        seconds = keep_newcomers_away(port)
        accept_waiting(port)
        if seconds:
            yield deferLater(self._reactor, seconds)
            accept_waiting(port)

    def _listens(self, port: IListeningPort) -> IListeningPort:
        self.url = _url_of(self._description, port.getHost())
        return port

    def _cannot_listen(self, failure: Failure) -> None:
        if isinstance(failure.value, CancelledError):
            return
        error = CannotStart(
            f"chanserv: cannot listen on {self._description}: {_reason(failure.value)}"
        )
        if self._starting:
            self._failed_at_once = error
            return
        # Endpoints of third parties may take their time to fail; then the
        # reactor runs already, and nothing that is raised ends the process.
        self._log.critical("{error}", error=error)
        atexit.register(_exit_in_failure)
        self._reactor.stop()


def _exit_in_failure() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _reason(error: BaseException | None) -> str:
    """What went wrong with an endpoint, in one line and an operator's words."""
    cause = getattr(error, "socketError", error)
    if isinstance(cause, OSError) and cause.strerror:
        reason = cause.strerror[0].lower() + cause.strerror[1:]
        if cause.errno == errno.EADDRINUSE:
            command = "ss -lxp" if cause.filename else "ss -ltnp"  # only Unix sockets have files
            return f"{reason} by another program, which '{command}' names"
        if cause.errno in (errno.EACCES, errno.EPERM):
            place = cause.filename or "that port or path"
            return f"{reason}: this user may not use {place}"
        return f"{reason}: {cause.filename}" if cause.filename else reason
    text = " ".join(str(cause).split()) or type(cause).__name__
    for pattern, words in _ENDPOINT_ERRORS:
        if found := re.search(pattern, text):
            return words.format(found[1])
    return text


_ENDPOINT_ERRORS: Final = (
    (r"missing \d+ required positional arguments?: (.*)", "it lacks {}"),
    (
        r"multiple values for argument (.*)",
        r"{} is there twice; a ':' within a value is written \:",
    ),
    (r"unexpected keyword argument (.*)", "it takes no {}"),
    (r"invalid literal for int\(\) with base 10: (.*)", "{} is not a number"),
    (r"Unknown endpoint type: (.*)", "there is no endpoint type {}"),
    (
        r"(AF_UNIX) path too long",
        "the path of a Unix socket has at most 107 bytes: take a shorter one, as in /run",
    ),
)
"""What Twisted's parser of endpoint strings raises, which speaks of functions."""


def _url_of(description: str, address: IAddress) -> str:
    scheme = "https" if read_description(description).encrypted else "http"
    match address:
        case IPv6Address():
            return f"{scheme}://[{address.host}]:{address.port}/"
        case IPv4Address():
            return f"{scheme}://{address.host}:{address.port}/"
        case UNIXAddress():
            return "unix:" + os.fsdecode(address.name or b"")
    return description
