"""
What goes from the interface server to its layer, gathered into batches.

All that the sockets bring in one turn of the reactor goes to the layer in one
trip: one Deferred, and one write where the layer is a socket itself, for
many requests.  The price is that a message waits for the end of the turn,
which under load is when its answer could be looked at soonest anyway.

An event may have to wait here, in the row of its channel, for one of two reasons:

 - Its channel is full.  It is tried again when workers have answered something, or
   after a short while.  So a burst of more clients than the channel holds is a wait
   for them, and not an error.
 - No worker is there.  Then nothing is tried.  The layer could hold it as well, but no
   more than a channel's capacity, and for another time than the operator has
   said; and what has not been sent can be taken back when its client leaves.

When workers are back, all that waits goes out in its order, as the channels have
room, and what comes meanwhile goes behind it.

What a layer refuses because its store is away is not tried again: see L{trips}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from chanserv.errors import ChannelFull, ChannelLayerError, WorkersAbsent
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Forget, Operation, SealedMessage, Send
from chanserv.server.counts import Counts
from chanserv.server.limits import Limits
from chanserv.server.parking import Parked, Parking
from chanserv.server.refusals import Refusals
from chanserv.server.trips import Trips

Sent = Callable[[ChannelLayerError | None], object]
"""Told what became of a send: its error, or L{None}."""

AGAIN_AFTER: Final = 0.05
"""Seconds until parked messages are tried again, where no reply comes in that
would say sooner that a worker has taken something."""

LOOK_AFTER: Final = 0.5
"""Seconds between two looks at what has waited long enough for a worker."""

MAX_FAREWELLS: Final = 100_000
"""Ends of connections that wait for a worker, whatever else does.  Each is of a
connection that workers know of, so there are no more than there were connections
when the last worker went, and such as came and went in doubt: some 50 MB."""

MAX_FAREWELL_BYTES: Final = 64 * 1024 * 1024
"""Bytes of these; a client chooses how long its path is."""


@dataclass(eq=False, slots=True)
class Outgoing:
    """
    What is to be done on the layer.

    @ivar sent: is called once with the outcome, unless it is withdrawn.
    @ivar patient: whether it may wait here.
    @ivar farewell: whether it is the end of a connection.
    @ivar name: what it may be withdrawn by.
    @ivar steady: whether it is of an open socket, which is not read meanwhile.
    """

    operation: Operation
    sent: Sent | None = None
    patient: bool = False
    farewell: bool = False
    name: str | None = None
    steady: bool = False


class Outlet:
    """
    Sends to a layer at the end of the reactor's turn.

    The order of calls is the order of sends, but for those that are parked.

    @ivar held: whether nothing is tried, since no worker is there.
    @ivar doubtful: whether it is not known that there ever was one.  What finds its
        channel full then waits as if there were none.
    """

    _log = Logger()

    def __init__(
        self, layer: IChannelLayer, clock: IReactorTime, limits: Limits, counts: Counts
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._counts = counts
        self._outgoing: list[Outgoing] = []
        self._turned_away: list[Outgoing] = []
        self._trips = Trips(layer, clock, self.forget)
        self._parking: Parking[Outgoing] = Parking(limits.parked_events, limits.parked_bytes)
        self._trying = False
        self._again: IDelayedCall | None = None
        self._refusals = Refusals()
        self._behind = False
        self._stopped = False
        self.held = False
        self.doubtful = False

    def send(
        self,
        channel: str,
        message: SealedMessage,
        receipt: str | None = None,
        sent: Sent | None = None,
        *,
        patient: bool = False,
        name: str | None = None,
        steady: bool = False,
    ) -> None:
        """
        Put C{message} on C{channel}.

        @param receipt: as for L{IChannelLayer.send}.
        @param sent: is called once with the outcome, never from within this
            call; not at all where the message is withdrawn.
        @param patient: whether to park the message where no worker is there, for at
            most C{park_seconds}, or where the channel is full, for at most
            C{full_patience}.
        @param name: what the message may be withdrawn by while it is parked.
        @param steady: whether it is of an open socket: then it waits C{park_seconds}
            for room as well.
        """
        operation = Send(channel, message, receipt)
        self._enter(Outgoing(operation, sent, patient, False, name, steady))

    def send_farewell(
        self,
        channel: str,
        message: SealedMessage,
        receipt: str | None = None,
        sent: Sent | None = None,
    ) -> None:
        """
        Tell workers of the end of a connection that they know; as L{send}.

        Where no worker is there it waits for one, without end.  Where the channel is
        full it waits only while few others do: nobody may be reading such news,
        which shall not take the room of what a client waits for.
        """
        self._enter(Outgoing(Send(channel, message, receipt), sent, True, True))

    def forget(self, channel: str) -> None:
        """End all memberships of C{channel}, whose connection is gone."""
        self._add(Outgoing(Forget(channel)))

    def withdraw(self, name: str) -> bool:
        """
        Take back what waits here under C{name}: its client has left.

        @return: whether it did wait; else the layer has it, or has refused it.
        """
        if not self._parking.withdraw(name):
            return False
        self._counts.parked_now = self._parking.events
        return True

    def _enter(self, one: Outgoing) -> None:
        operation = one.operation
        if one.patient and (
            self.held or (isinstance(operation, Send) and operation.channel in self._parking)
        ):
            if self._park(one):
                return
            if self.held or (self._behind and not one.farewell):
                self._turn_away(one)
                return
        self._add(one)

    def _add(self, one: Outgoing) -> None:
        if not self._outgoing:
            self._clock.callLater(0, self._flush)
        self._outgoing.append(one)

    @property
    def idle(self) -> bool:
        """Whether nothing waits here, and nothing is on its way to the layer."""
        return not (self._outgoing or self._trips.under_way or self._parking)

    @property
    def wait(self) -> float:
        """How many seconds what is sent now may wait here for workers."""
        return self._limits.park_seconds if self.held or self._behind else 0.0

    def nudge(self) -> None:
        """Something has come from the layer: there may be room again."""
        if self._parking and not self._trying and not self.held:
            self._try_again()

    # Workers that go, and come back.

    def hold(self) -> None:
        """No worker is there: let all wait, and what has been waiting wait longer."""
        if self.held:
            return
        self.held = True
        counts = self._counts
        self._refusals.absence_begins(counts.parked - counts.parked_now, counts.unattended)
        self._parking.reprieve = self._clock.seconds() + self._limits.park_seconds
        self._schedule(LOOK_AFTER)

    def release(self) -> tuple[int, int]:
        """
        Workers are there: send what waits, in its order.

        What waits is given C{park_seconds} anew, and so is what comes behind it until
        all of that is out: it is known that somebody works on it.

        @return: how many events have waited since the workers went, and how many
            have been refused.
        """
        if not self.held:
            return 0, 0
        self.held = False
        self._behind = bool(self._parking)
        self._parking.reprieve = self._clock.seconds() + self._limits.park_seconds
        self._schedule(None)
        if self._parking and not self._trying:
            self._try_again()
        return self._refusals.absence_ends(self._counts.parked, self._counts.unattended)

    def send_last_farewells(self) -> None:
        """
        The server ends: give the layer what workers are still to hear, whether or
        not one is there.
        """
        if self.held:
            for entry in self._parking.take_farewells():
                self._add(entry.item)

    def start(self) -> None:
        """Begin, or begin anew."""
        self._stopped = False
        self._trips.start()

    def stop(self) -> None:
        """Try nothing again; what is parked is dropped."""
        self._stopped = True
        self._schedule(None)
        self._counts.disconnects_dropped += self._parking.clear()
        self._counts.parked_now = 0
        self.held = self._behind = False
        self._trips.stop()

    # To the layer.

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []

        def arrived(errors: list[ChannelLayerError | None]) -> None:
            for one, error in zip(outgoing, errors, strict=True):
                if isinstance(error, ChannelFull) and one.patient:
                    if self._park(one):
                        continue
                    self._refusals.say_full(error, self._clock.seconds())
                self._tell(one, error)

        self._trips.send([one.operation for one in outgoing], arrived)

    def _tell(self, one: Outgoing, error: ChannelLayerError | None) -> None:
        if one.sent is None:
            return
        try:
            one.sent(error)
        except Exception:
            self._log.failure("A connection could not take the outcome of its send")

    def _turn_away(self, one: Outgoing) -> None:
        """Refuse C{one} at the end of the turn: there is no room to wait."""
        if not self._turned_away:
            self._clock.callLater(0, self._refuse_all)
        self._turned_away.append(one)

    def _refuse_all(self) -> None:
        turned_away, self._turned_away = self._turned_away, []
        error = WorkersAbsent("no worker is there, and as many events as may wait for one do so")
        for one in turned_away:
            self._tell(one, error)

    # Parking.

    def _park(self, one: Outgoing) -> bool:
        """Keep a message for a while, if there is room."""
        operation = one.operation
        if not isinstance(operation, Send) or self._stopped:
            return False
        size: int = operation.message.size  # type: ignore[attr-defined]
        patience = self._patience(one)
        if one.farewell:
            if not self._has_room_for_farewell(size):
                return False
        elif not patience:
            return False
        if not self._parking.park(
            operation.channel,
            one,
            size,
            self._clock.seconds() + patience,
            name=one.name,
            farewell=one.farewell,
        ):
            return False
        if not one.farewell:
            self._counts.parked += 1
            self._counts.parked_now = self._parking.events
        if self._again is None and not self._trying:
            self._schedule(LOOK_AFTER if self.held else AGAIN_AFTER)
        return True

    def _patience(self, one: Outgoing) -> float:
        """How many seconds C{one} may wait, when it is parked now."""
        limits = self._limits
        if self.held or self._behind or self.doubtful:
            return limits.park_seconds
        if one.steady and limits.full_patience:
            return max(limits.full_patience, limits.park_seconds)
        return limits.full_patience

    def _has_room_for_farewell(self, size: int) -> bool:
        parking = self._parking
        if self.held:
            most = MAX_FAREWELLS
        else:
            most = self._limits.parked_events // 2 if self._limits.full_patience else 0
        return parking.farewells < most and parking.farewell_bytes + size <= MAX_FAREWELL_BYTES

    def _schedule(self, delay: float | None) -> None:
        """Look at what is parked in C{delay} seconds; L{None} for not at all."""
        if self._again is not None and self._again.active():
            self._again.cancel()
        self._again = None
        if delay is not None and not self._stopped:
            self._again = self._clock.callLater(delay, self._look)

    def _look(self) -> None:
        self._again = None
        if not self.held:
            if self._parking and not self._trying:
                self._try_again()
            return
        overdue = self._parking.take_overdue(self._clock.seconds())
        self._counts.parked_now = self._parking.events
        if self._parking:
            self._schedule(LOOK_AFTER)
        error = WorkersAbsent("no worker came in time")
        for entry in overdue:
            self._tell(entry.item, error)

    def _try_again(self) -> None:
        self._schedule(None)
        self._trying = True
        lot = self._parking.take_lot()
        operations = [entry.item.operation for entry in lot]
        self._trips.send(operations, lambda errors: self._tried(lot, errors))

    def _tried(self, lot: list[Parked[Outgoing]], errors: list[ChannelLayerError | None]) -> None:
        """Keep what was tried in vain, and let go of the rest."""
        self._trying = False
        now, parking = self._clock.seconds(), self._parking
        refused = [
            isinstance(error, ChannelFull)
            and not self._stopped
            and (self.held or parking.has_time(entry, now))
            for entry, error in zip(lot, errors, strict=True)
        ]
        parking.settle(lot, refused)
        self._counts.parked_now = parking.events
        if not parking:
            self._behind = False
        elif self.held:
            self._schedule(LOOK_AFTER)
        else:
            self._schedule(AGAIN_AFTER if any(refused) else 0)
        for entry, error, again in zip(lot, errors, refused, strict=True):
            if again:
                continue
            if isinstance(error, ChannelFull):
                self._refusals.say_full(error, now)
            self._tell(entry.item, error)
