"""
How operations reach the hub: within the host by a call, from others by a socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from twisted.internet.defer import Deferred

from chanserv.errors import LayerUnavailable
from chanserv.layers.ipc import wire

MAX_UNANSWERED: Final = 100_000
"""Operations of one process that the hub has not answered: more than any bounded
consumer produces while it waits, and some 50 MB at worst.  Past it they fail."""

MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes of one process that the hub has not read: as much as a hundred full-grown
channels' worth of common messages, or sixteen of the largest.  Past it they fail."""

ANSWER_TIMEOUT: Final = 10.0
"""Seconds without an answer after which the hub's process is taken for stopped:
a healthy one answers in thousandths, so what asks need not wait for longer."""


class Link(Protocol):
    """
    The way to a hub.

    @ivar options: the hub's, as L{HubOptions.written} gives them.
    """

    @property
    def options(self) -> Mapping[str, Any]: ...

    @property
    def is_over(self) -> bool:
        """Whether the hub is no longer reached this way."""

    def post(self, operation: wire.Operation, weight: int, answer: Deferred[Any]) -> None:
        """
        Have C{operation} done.

        @param weight: roughly its bytes.
        @param answer: fires with the result, L{None} for "done"; or fails.
        """

    def tell(
        self, operation: wire.Operation, weight: int = 100, answer: Deferred[Any] | None = None
    ) -> None:
        """The same, where nothing refuses it, and few ask for the result."""


Undone: TypeAlias = tuple[wire.Operation, int, Deferred[Any]]
"""An operation, its weight, and who waits for its answer."""


class Parting(NamedTuple):
    """
    How a connection ended.

    @ivar reason: the error that calls fail with until there is another hub.
    @ivar failed: how many operations failed, that may have been done or not.
    @ivar undone: operations that were not done, and can be asked of the next hub.
    @ivar lost: how many messages were lost, if the hub said farewell.
    @ivar load: how many messages waited or were on lease when it last said so.
    @ivar roster: how many guests owned mailboxes.
    """

    reason: LayerUnavailable
    failed: int
    undone: list[Undone]
    lost: int | None
    load: int
    roster: int


class Owner(Protocol):
    """Who is told of a guest's connection."""

    def welcomed(self, link: Any, greeting: wire.Greeting) -> None:
        """The hub has greeted: operations can be sent."""

    def parted(self, link: Any, parting: Parting) -> None:
        """The connection is over."""


def fire(answer: Deferred[Any], result: tuple[int, Any] | None) -> None:
    """Fire with a result as it is written."""
    if result is None:
        answer.callback(None)
    elif result[0] == wire.ERROR:
        answer.errback(wire.read_error(result[1]))
    else:
        answer.callback(result[1])
