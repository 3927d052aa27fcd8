"""What a team needs of a reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall


class TeamReactor(Protocol):
    """
    The three methods of C{IReactorTime} and C{IReactorFromThreads} that a team
    calls, under Twisted's names.
    """

    def seconds(self) -> float:
        """The time, in seconds since some moment."""

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object
    ) -> IDelayedCall:
        """Call something after C{delay} seconds."""

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Call something on the reactor's thread; for other threads to use."""
