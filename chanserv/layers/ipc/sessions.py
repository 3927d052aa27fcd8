"""The processes that take part, as the hub knows them."""

from __future__ import annotations

from typing import Any, Protocol

from chanserv.core.mirror import Change
from chanserv.layers.ipc import wire


class Sink(Protocol):
    """Where a session's news go."""

    def deliver(self, number: int, now: float, items: list[wire.Item]) -> None:
        """Hand messages to the receive of that number."""

    def change(self, mailbox: str, flags: int, changes: list[Change]) -> None:
        """Tell of changes to the members of a mailbox."""

    def roster(self, count: int) -> None:
        """Tell how many guests own mailboxes."""

    def load(self, count: int) -> None:
        """Tell how many messages wait or are on lease."""

    def flushed(self) -> None:
        """Tell that all messages and groups have been forgotten."""


class HubReader:
    """One receive that waits."""

    __slots__ = ("channels", "limit", "number", "session")

    def __init__(
        self, session: Session, number: int, channels: tuple[str, ...], limit: int
    ) -> None:
        self.session = session
        self.number = number
        self.channels = channels
        self.limit = limit


class Session:
    """
    One process, as the hub knows it.

    @ivar readers: its waiting receives, by their numbers.
    @ivar mailboxes: those that it owns: it was the last to receive from them.
    @ivar is_paused: whether it takes nothing at the moment.
    @ivar full: the channels that its last batch found full, and what it was told.
    """

    __slots__ = ("full", "is_host", "is_paused", "mailboxes", "name", "readers", "sink")

    def __init__(self, sink: Sink, name: str, is_host: bool) -> None:
        """
        @param name: what the log calls it.
        @param is_host: whether the hub is in that very process.
        """
        self.is_host = is_host
        self.sink = sink
        self.name = name
        self.readers: dict[int, HubReader] = {}
        self.mailboxes: set[str] = set()
        self.is_paused = False
        self.full: dict[str, tuple[Any, ...]] = {}
