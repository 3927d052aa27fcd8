"""Commands that wait while nobody knows whether their server is there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from chanserv.errors import LayerUnavailable
from chanserv.layers.redis.protocol import Word
from chanserv.layers.redis.script import Script

PATIENCE: Final = 2.0
"""Seconds that commands wait while nobody knows whether the server is there: a restart of
a small server passes unnoticed, and people do not wait for a page much longer."""

MAX_WAITING: Final = 1_000
"""Commands that wait while nobody knows: a busy process makes as many in the tenth of a
second that it takes to connect again."""


class Commands(Protocol):
    """What sends commands: a connection, and a link of it that is being prepared."""

    def call(self, *words: Word) -> Deferred[Any]:
        """
        Send a command.

        @return: fires with the reply: bytes (also for a status), an int,
            L{None} or a list of these, in which an error is an exception that
            is not raised.  Fails with a L{ChannelLayerError}.
        """

    def run(
        self, script: Script, keys: Sequence[Word] = (), args: Sequence[Word] = ()
    ) -> Deferred[Any]:
        """The same for a script, which the server is told anew if it has forgotten it."""


Perform: TypeAlias = Callable[[Commands], "Deferred[Any]"]
"""Sends a command, on what it is given."""


class HeldCommands:
    """
    What becomes of commands for which there is no connection.

    They are held, a bounded number of them for a bounded time, or refused with
    the reason.
    """

    def __init__(
        self,
        name: str,
        reactor: Any,
        patience: float,
        most: int,
        ended: Callable[[LayerUnavailable], None],
    ) -> None:
        """
        @param name: the server's.
        @param patience: seconds from L{hold} until commands are refused.
        @param most: how many are held.
        @param ended: called with the reason when patience has ended.
        """
        self._name = name
        self._reactor = reactor
        self._patience = patience
        self._most = most
        self._ended = ended
        self._why: str | None = f"Redis {name}: the connection has not been started"
        self._held: deque[tuple[Perform, Deferred[Any]]] = deque()
        self._end: IDelayedCall | None = None

    @property
    def why(self) -> str | None:
        """Why commands are refused; L{None} while they are held or go out."""
        return self._why

    def add(self, perform: Perform) -> Deferred[Any]:
        """Hold a command, or refuse it."""
        result: Deferred[Any] = Deferred()
        if self._why is not None:
            result.errback(LayerUnavailable(self._why))
        elif len(self._held) >= self._most:
            result.errback(
                LayerUnavailable(
                    f"Redis {self._name} is not reached yet, and {self._most} commands wait for it"
                )
            )
        else:
            self._held.append((perform, result))
        return result

    def hold(self) -> None:
        """From here on nobody knows."""
        self._why = None
        if self._end is None:
            self._end = self._reactor.callLater(self._patience, self._out_of_patience)

    def refuse(self, why: str) -> None:
        """From here on commands fail, and so do those that are held."""
        self._why = why
        for _, result in self._emptied():
            if not result.called:
                result.errback(LayerUnavailable(why))

    def release(self, link: Commands) -> None:
        """Send what is held; nothing more is added from here on."""
        for perform, result in self._emptied():
            # It may have been cancelled.
            if not result.called:
                perform(link).chainDeferred(result)

    def _emptied(self) -> deque[tuple[Perform, Deferred[Any]]]:
        if self._end is not None:
            self._end.cancel()
            self._end = None
        held, self._held = self._held, deque()
        return held

    def _out_of_patience(self) -> None:
        self._end = None
        error = LayerUnavailable(f"Redis {self._name} has not answered for {self._patience:g} s")
        self._ended(error)
        self.refuse(str(error))
