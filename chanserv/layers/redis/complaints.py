"""What is said of that which fails and nobody waits for."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.errors import LayerUnavailable
from chanserv.layers.redis.refusals import Refused

SAID_ONCE_IN: Final = 10.0
"""Seconds between two lines of the log on what a server refuses: a server without
memory may refuse thousands of things in that time, for the same reason."""


class Complaints:
    """
    An errback: a line of the log now and then.

    The loss of a connection is told elsewhere.
    """

    _log: ClassVar = Logger(namespace="chanserv.redis")

    def __init__(self, name: str, reactor: Any) -> None:
        """@param name: the server's."""
        self._name = name
        self._reactor = reactor
        self._silent_until = 0.0

    def __call__(self, failure: Failure) -> None:
        """Say what there is to say."""
        if not isinstance(failure.value, LayerUnavailable):
            self._log.failure("Redis {name} refused what it was told", failure, name=self._name)
        elif isinstance(failure.value, Refused) and self._reactor.seconds() >= self._silent_until:
            self._silent_until = self._reactor.seconds() + SAID_ONCE_IN
            self._log.warn("{why}", why=failure.getErrorMessage())
