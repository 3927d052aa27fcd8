"""
The last that workers hear of a connection: that it has ended.

A server that stops sends many of these at once, and waits until workers have
finished with them: so a site that keeps, say, a list of who is there has it right
when its workers stop next.
"""

from __future__ import annotations

from typing import Protocol

from chanserv.errors import ChannelLayerError
from chanserv.messages import Delivery, SealedMessage
from chanserv.server.outlet import Outlet, Sent
from chanserv.server.replies import Recipient


class Postponed(Protocol):
    """A farewell that the layer has refused, and that is to be tried again."""

    def say_again(self) -> None:
        """Try now."""


class Farewells(Recipient):
    """
    All farewells of a server.

    @ivar channel: where their receipts come to.
    @ivar unheard: those that were asked to be told of, and no worker has finished
        with yet.
    @ivar postponed: those that are to be tried again later.
    @ivar counted: whether to ask to be told.
    """

    def __init__(self, outlet: Outlet, channel: str) -> None:
        self._outlet = outlet
        self.channel = channel
        self.unheard = 0
        self.postponed: set[Postponed] = set()
        self.counted = False

    def say(self, channel: str, message: SealedMessage, sent: Sent) -> None:
        """
        Tell the workers, in the manner of L{Outlet.send_farewell}.

        While no worker is there nobody could tell that it has heard.
        """
        if not self.counted or self._outlet.held:
            self._outlet.send_farewell(channel, message, None, sent)
            return
        self.unheard += 1

        def outcome(error: ChannelLayerError | None) -> None:
            if error is not None:
                self.unheard -= 1
            sent(error)

        self._outlet.send_farewell(channel, message, self.channel, outcome)

    def end(self) -> int:
        """
        Wait for nothing any more.

        @return: how many farewells no worker will hear.
        """
        unsaid = len(self.postponed)
        self.postponed.clear()
        self.counted, self.unheard = False, 0
        return unsaid

    def say_postponed(self) -> None:
        """Try now what was to be tried again later."""
        postponed, self.postponed = self.postponed, set()
        for one in postponed:
            one.say_again()

    def deliver(self, delivery: Delivery) -> None:
        """A receipt: a worker has finished with one, or nobody will."""
        delivery.settle()
        if "receipt" in delivery.message:
            self.unheard -= 1

    def fail(self) -> None:
        """A receipt could not be taken."""
