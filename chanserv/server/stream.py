"""
The way of one connection's events to the workers: in order, and to the last.

An L{EventStream} hands events to the layer as its L{EventQueue} says, hears
what became of them, and waits for no receipt for ever.  It outlives its
connection: the disconnect event goes out after all that was held.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from twisted.logger import Logger

from chanserv.errors import ChannelLayerError
from chanserv.messages import Outcome, SealedMessage
from chanserv.server.context import ServerContext
from chanserv.server.events import Event, EventQueue, Intake
from chanserv.server.timeouts import NEVER


class Hearing(Enum):
    """Whether workers hear of a connection."""

    ASKED = "asked"
    """Its first event is on its way to the layer."""
    HEARD = "heard"
    """The layer has taken that one."""
    UNHEARD = "unheard"
    """The layer has refused it: no worker hears of the connection, nor of its
    end."""
    ENDED = "ended"
    """The last event is out."""


class Source(Protocol):
    """
    The connection whose events a stream hands out.

    @ivar path: the decoded path of its handshake.
    """

    path: str

    def holds_back(self) -> bool:
        """Whether its client leaves our side full, and events are to wait."""

    def event_refused(self, error: ChannelLayerError) -> None:
        """The layer has not taken an event."""

    def event_unread(self, outcome: object) -> None:
        """No worker has finished with an event."""

    def pause_reads(self) -> None:
        """Too much is held."""

    def resume_reads(self) -> None:
        """There is room again."""


class EventStream:
    """
    The events of one connection.

    @ivar hearing: see L{Hearing}.
    @ivar reads_paused: whether the connection has been told to pause.
    """

    __slots__ = (
        "_context",
        "_farewell",
        "_queue",
        "_retries",
        "_source",
        "deadline",
        "hearing",
        "reads_paused",
        "reply_channel",
        "slot",
    )

    _log = Logger()

    deadline: float
    slot: int

    def __init__(self, context: ServerContext, source: Source) -> None:
        limits = context.limits
        self._context = context
        self._source = source
        self._queue = EventQueue(
            1 if context.ordered else limits.open_window, limits.held_events, limits.held_bytes
        )
        self._farewell: SealedMessage | None = None
        self._retries = 0
        self.reply_channel = context.new_reply_channel()
        self.hearing = Hearing.ASKED
        self.reads_paused = False
        context.timeouts.begin(self)

    @property
    def order(self) -> int:
        """The C{order} of the next event."""
        return self._queue.order

    def add(self, channel: str, message: SealedMessage) -> None:
        """Take in the next event, and hand it out when its turn has come."""
        event = (channel, message)
        if self._queue.offer(event):
            self._dispatch(event)
        elif self._queue.intake is Intake.FULL and not self.reads_paused:
            self.reads_paused = True
            self._source.pause_reads()

    def end(self, farewell: SealedMessage) -> None:
        """Take in the disconnect event, which goes out when those before it have."""
        if self.hearing is Hearing.UNHEARD or (
            self.hearing is Hearing.ASKED and self._context.outlet.withdraw(self.reply_channel)
        ):
            self._forget()
            return
        event = ("websocket.disconnect", farewell)
        if self._queue.end(event):
            self._dispatch(event)
        else:
            # Events before it may still join groups: they are ended again then.
            self._context.outlet.forget(self.reply_channel)
            self.advance()

    @property
    def busy(self) -> bool:
        """Whether there is an event whose consumer has not finished, as far as is known."""
        return self._context.ordered and (self._queue.in_flight > 0 or len(self._queue) > 0)

    def cut_short(self) -> int:
        """
        Hand out the last event now, and what is before it not at all.

        @return: how many events that were.
        """
        if self._farewell is not None or self.hearing is Hearing.ENDED:
            return 0
        dropped = self._queue.drop_held()
        while self._queue.in_flight:
            self._queue.landed()
        self.advance()
        return dropped

    def advance(self) -> None:
        """
        Hand out what may go now.

        Not while the client leaves our side full: what it sends then stays
        with it, as the answers to it would stay with us.
        """
        if self._source.holds_back():
            return
        queue = self._queue
        while (event := queue.next()) is not None:
            self._dispatch(event)
        if self.reads_paused and queue.intake is not Intake.FULL:
            self.reads_paused = False
            self._source.resume_reads()

    def receipt(self, outcome: object) -> None:
        """The receipt of an event has come."""
        if outcome != Outcome.SETTLED:
            self._context.losses.note(outcome)
            self._source.event_unread(outcome)
        if self._context.ordered:
            self._landed()

    # To the layer.

    def _dispatch(self, event: Event) -> None:
        channel, message = event
        if channel == "websocket.disconnect":
            self._farewell = message
            self._send_farewell(message)
            return
        context, name = self._context, self.reply_channel
        if context.ordered:
            context.timeouts.after(self, context.limits.settle_timeout + context.outlet.wait)
        context.outlet.send(
            channel,
            message,
            name if context.settles else None,
            self._sent,
            patient=True,
            name=name if self.hearing is Hearing.ASKED else None,
            steady=self.hearing is Hearing.HEARD,
        )

    def _sent(self, error: ChannelLayerError | None) -> None:
        """The layer has taken an event, or not."""
        if error is None:
            if self.hearing is Hearing.ASKED:
                self.hearing = Hearing.HEARD
            if not self._context.ordered:
                self._landed()
            return
        self._context.counts.refused(error)
        if self.hearing is Hearing.ASKED:
            self.hearing = Hearing.UNHEARD
        self._source.event_refused(error)
        if self.hearing is Hearing.UNHEARD:
            self._forget()
            return
        # What came after it is not to be handled without it.
        for _ in range(self._queue.drop_held()):
            self._context.counts.refused(error)
        self._landed()

    def _landed(self) -> None:
        if self._farewell is None:
            self._context.timeouts.set(self, NEVER)
        self._queue.landed()
        self.advance()

    def _send_farewell(self, message: SealedMessage) -> None:
        context, name = self._context, self.reply_channel
        context.timeouts.end(self)
        context.recipients.pop(name, None)
        context.outlet.forget(name)
        context.farewells.postponed.discard(self)
        context.farewells.say("websocket.disconnect", message, self._farewell_sent)

    def say_again(self) -> None:
        """Try again to say that the connection has ended."""
        if self._farewell is not None:
            self._send_farewell(self._farewell)

    def _farewell_sent(self, error: ChannelLayerError | None) -> None:
        context = self._context
        if error is None or self._retries >= context.limits.disconnect_retries:
            if error is not None:
                context.counts.disconnects_dropped += 1
            self.hearing = Hearing.ENDED
            self._farewell = None
            return
        context.timeouts.after(self, 2.0**self._retries)
        context.farewells.postponed.add(self)
        self._retries += 1

    def _forget(self) -> None:
        """End without a word to anyone."""
        self.hearing = Hearing.ENDED
        self._context.timeouts.end(self)
        self._context.recipients.pop(self.reply_channel, None)

    def timed_out(self, now: float) -> None:
        """No receipt has come, or the last event is to be tried again."""
        if self._farewell is not None:
            self.say_again()
            return
        self._context.counts.overdue += 1
        self._log.warn(
            "An event of the WebSocket {path} has no receipt after {seconds} s: its consumer "
            "still runs, or the layer lost it. The next event goes out",
            path=self._source.path,
            seconds=self._context.limits.settle_timeout,
        )
        self._landed()
