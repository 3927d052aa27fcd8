"""
Processes that answer when they are asked how they do.

Each stands on a roll of its own, C{PROCESSES_GROUP}.  Who wants to know sends one
message to that group, with a channel for the answers::

    {"ask": "status", "version": 1, "id": "7", "reply_channel": "chanserv.top.x7Qf!in"}

and each process sends one back::

    {"answer": "status", "version": 1, "id": "7", "from": "chanserv.process.Zk3d!roll",
     "status": {...}}

where C{from} tells it from all others, and the status is that of L{Snapshot.as_dict}.
The version grows when a key changes its meaning; keys may come without that.  Questions
of another kind, and those that make no sense, are left without an answer.

Nothing is done while nobody asks.  Who asks too often gets fewer answers, and what
comes in too large numbers to be looked at waits on the layer, where it expires.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.core.defaults import PROCESSES_GROUP
from chanserv.errors import ChannelLayerError, MessageTooLarge
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Message
from chanserv.names import is_process_specific, mailbox_of
from chanserv.ops.snapshot import Process
from chanserv.worker.roll import Roll

VERSION: Final = 1
"""Of questions and answers."""

ANSWER_AFTER: Final = 0.5
"""Seconds between two answers to one asker; a view that is refreshed each second is
always answered."""

MAX_ASKERS: Final = 20
"""Askers that are answered within L{ANSWER_AFTER}: all the operators of a site have their
views open, and something is wrong besides."""

MAX_ID: Final = 100
"""Characters of an asker's mark on its question, which comes back with the answer."""

REST: Final = 0.05
"""Seconds between taking questions and asking for more: a hundred of them are taken at
a time, so that a flood costs twenty short turns a second."""


class Answers:
    """
    Answers for one process.

    All methods are called on the reactor's thread.
    """

    _log: ClassVar = Logger()

    def __init__(self, layer: IChannelLayer, clock: IReactorTime, process: Process) -> None:
        """
        @param layer: one that keeps a roll; see L{chanserv.layers.reach}.
        @param process: what to tell of.
        """
        self._layer = layer
        self._clock = clock
        self._process = process
        self._asked: dict[str, float] = {}
        self._status: tuple[float, dict[str, Any]] | None = None
        self.roll = Roll(
            layer,
            clock,
            PROCESSES_GROUP,
            name="chanserv.process",
            on_message=self._heard,
            rest=REST,
        )

    def start(self) -> None:
        """Be there for those who ask."""
        self.roll.join()

    def stop(self) -> Deferred[None]:
        """
        Answer no more.

        @return: as L{Roll.leave}.
        """
        self._status = None
        return self.roll.leave()

    def _heard(self, message: Message) -> None:
        reply_channel = message.get("reply_channel")
        if (
            message.get("ask") == "status"
            and message.get("version") == VERSION
            and isinstance(reply_channel, str)
            # An answer belongs in the hands of one process, and on no channel of the site.
            and is_process_specific(reply_channel)
            and self._is_due(mailbox_of(reply_channel))
        ):
            self._answer(reply_channel, message.get("id"))

    def _is_due(self, asker: str) -> bool:
        """Whether C{asker} gets an answer now; if so, it has been noted."""
        now = self._clock.seconds()
        asked = self._asked
        # The oldest stand first.
        while asked and now - next(iter(asked.values())) >= ANSWER_AFTER:
            del asked[next(iter(asked))]
        if asker in asked or len(asked) >= MAX_ASKERS:
            return False
        asked[asker] = now
        return True

    def _answer(self, reply_channel: str, mark: object) -> None:
        answer = {
            "answer": "status",
            "version": VERSION,
            "from": self.roll.channel,
            "status": self._status_now(),
        }
        if isinstance(mark, int) or (isinstance(mark, str) and len(mark) <= MAX_ID):
            answer["id"] = mark
        begun = self._clock.seconds()
        sending = self._layer.send(reply_channel, answer)
        sending.addErrback(self._shorter, reply_channel, answer)
        sending.addCallback(lambda _: self._sent(begun))
        sending.addErrback(self._not_sent)

    def _status_now(self) -> dict[str, Any]:
        """The process's status, or the one that somebody else has just been told."""
        now = self._clock.seconds()
        if self._status is None or now - self._status[0] >= ANSWER_AFTER:
            self._status = now, self._process.now().as_dict()
        return self._status[1]

    def _shorter(self, failure: Failure, channel: str, answer: dict[str, Any]) -> Deferred[None]:
        """Leave out what makes an answer large."""
        failure.trap(MessageTooLarge)  # type: ignore[no-untyped-call]
        status = self._process.now().as_dict(consumers=False)
        return self._layer.send(channel, {**answer, "status": status})

    def _sent(self, begun: float) -> None:
        self._process.round_trip = max(self._clock.seconds() - begun, 0.0)

    def _not_sent(self, failure: Failure) -> None:
        # Whoever asked hears nothing, and asks again.
        if not isinstance(failure.value, ChannelLayerError):
            self._log.failure("The answer to a question could not be sent", failure)
