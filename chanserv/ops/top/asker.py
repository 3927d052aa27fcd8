"""What a running system says when it is asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from chanserv.core.defaults import PROCESSES_GROUP
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Message
from chanserv.ops.ask import VERSION
from chanserv.ops.glance import GLANCE_PATIENCE, Glance, glance_at
from chanserv.ops.snapshot import Snapshot
from chanserv.worker.roll import Roll

ONLOOKERS_GROUP: Final = "chanserv.onlookers"
"""The roll on which those stand who look: nobody sends to it, but it makes the layer know
whose the mailbox for the answers is, and forget it with its process."""

FORGET_AFTER: Final = 10.0
"""Seconds for which a process is shown that answers no more."""

MAX_PROCESSES: Final = 1000
"""Processes of which answers are kept: more than one screen or one site has."""


@dataclass(frozen=True, slots=True)
class Heard:
    """
    What a process has answered.

    @ivar at: when, on the asker's clock.
    @ivar latency: seconds after it was asked.
    """

    snapshot: Snapshot
    at: float
    latency: float


@dataclass(frozen=True, slots=True)
class Sample:
    """
    A system at one moment.

    @ivar at: that moment, on the asker's clock.
    @ivar time: the same, in seconds since 1970.
    @ivar processes: what is known of each, by what tells it from all others: names of
        machines need not differ.
    @ivar members: how many stand on the roll of processes; L{None} if that is not known.
    @ivar glance: what the layer said.
    """

    at: float
    time: float
    processes: Mapping[str, Heard] = field(default_factory=dict)
    members: int | None = None
    glance: Glance = field(default_factory=Glance)

    def as_dict(self) -> dict[str, Any]:
        """The same in values that JSON carries."""
        return {
            "time": self.time,
            "members": self.members,
            "problem": self.glance.problem,
            "round_trip": self.glance.round_trip,
            "totals": dict(self.glance.totals),
            "channels": {name: dict(one) for name, one in self.glance.channels.items()},
            "processes": [
                {
                    "age": self.at - heard.at,
                    "latency": heard.latency,
                    "status": heard.snapshot.as_dict(),
                }
                for heard in self.processes.values()
            ],
        }


class Asker:
    """
    Asks all processes that stand on the roll, and the layer.

    All methods are called on the reactor's thread.
    """

    _log: ClassVar = Logger()

    def __init__(self, layer: IChannelLayer, clock: IReactorTime) -> None:
        self._layer = layer
        self._clock = clock
        self._roll = Roll(
            layer, clock, ONLOOKERS_GROUP, name="chanserv.top", on_message=self._heard
        )
        self._number = 0
        self._asked = 0.0
        self._answered: set[str] = set()
        self._members: int | None = None
        self._enough: Deferred[None] | None = None
        self._patience: IDelayedCall | None = None
        self._processes: dict[str, Heard] = {}

    def start(self) -> None:
        """Be there for answers."""
        self._roll.join()

    def stop(self) -> Deferred[None]:
        """
        Leave nothing behind.

        @return: as L{Roll.leave}.
        """
        self._stop_waiting()
        return self._roll.leave()

    def sample(self, patience: float) -> Deferred[Sample]:
        """
        Ask.  One call at a time.

        @param patience: seconds to wait for the answers of those on the roll.
        @return: fires with what is known, also where nothing was answered: within
            C{patience} and some seconds that the layer is given.  It never fails.
        """
        return Deferred.fromCoroutine(self._sample(patience))

    async def _sample(self, patience: float) -> Sample:
        self._number += 1
        self._asked = self._clock.seconds()
        self._answered.clear()
        self._members = None
        asking = self._layer.send_group(
            PROCESSES_GROUP,
            {
                "ask": "status",
                "version": VERSION,
                "id": self._number,
                "reply_channel": self._roll.channel,
            },
        )
        sent = await asking.addTimeout(GLANCE_PATIENCE, self._clock).addCallbacks(
            lambda _: True, lambda _: False
        )
        if sent:
            await self._wait_for_answers(patience)
        self._forget()
        glance = await glance_at(self._layer, self._channels(), self._clock)
        return Sample(
            self._clock.seconds(), time.time(), dict(self._processes), self._members, glance
        )

    async def _wait_for_answers(self, patience: float) -> None:
        """Until all on the roll have answered, or time is up."""
        members = maybeDeferred(self._layer.group_channels, PROCESSES_GROUP)
        members.addTimeout(GLANCE_PATIENCE, self._clock)
        members.addCallbacks(self._count, lambda _: None)
        await members
        left = self._asked + patience - self._clock.seconds()
        if self._members is not None and len(self._answered) < self._members and left > 0:
            self._enough = Deferred()
            self._patience = self._clock.callLater(left, self._stop_waiting)
            await self._enough

    def _count(self, members: list[str]) -> None:
        self._members = len(members)

    def _stop_waiting(self) -> None:
        enough, self._enough = self._enough, None
        patience, self._patience = self._patience, None
        if patience is not None and patience.active():
            patience.cancel()
        if enough is not None:
            enough.callback(None)

    def _heard(self, message: Message) -> None:
        if message.get("answer") != "status" or message.get("version") != VERSION:
            return
        status, sender = message.get("status"), message.get("from")
        try:
            if not isinstance(sender, str):
                raise ValueError(f"it is from {sender!r}")
            snapshot = Snapshot.from_dict(status if isinstance(status, dict) else {})
        except ValueError as error:
            self._log.warn("An answer cannot be read: {error}", error=error)
            return
        if len(self._processes) >= MAX_PROCESSES and sender not in self._processes:
            return
        now = self._clock.seconds()
        self._processes[sender] = Heard(snapshot, now, now - self._asked)
        if message.get("id") == self._number:
            self._answered.add(sender)
            if self._members is not None and len(self._answered) >= self._members:
                self._stop_waiting()

    def _forget(self) -> None:
        """Those that have left the roll, or have not answered for long."""
        all_answered = self._members is not None and len(self._answered) >= self._members
        oldest = self._clock.seconds() - FORGET_AFTER
        for sender, heard in list(self._processes.items()):
            if heard.at < oldest or (all_answered and sender not in self._answered):
                del self._processes[sender]

    def _channels(self) -> set[str]:
        channels: set[str] = set()
        for heard in self._processes.values():
            channels.update(heard.snapshot.channels)
            if heard.snapshot.mailbox:
                channels.add(heard.snapshot.mailbox)
        return channels
