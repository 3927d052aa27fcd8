"""
One run of a consumer: what a worker's thread does with one delivery.

Nothing here knows of a reactor; it runs wherever it is called, and does not
let an exception of the application out.
"""

from __future__ import annotations

import os
import sys
import traceback
from enum import Enum
from math import inf
from typing import Final, NoReturn

from twisted.logger import Logger

from chanserv.errors import ConsumeLater, DenyConnection, LayerUnavailable
from chanserv.interfaces import IApplication
from chanserv.messages import Delivery, Send
from chanserv.worker.answers import answer_to_fault, denial
from chanserv.worker.origin import Origin, request_id_of
from chanserv.worker.outbox import Outbox
from chanserv.worker.retries import RETRIES_KEY, postponements

_log: Final = Logger(namespace="chanserv.worker")


class Ending(Enum):
    """How a run ended."""

    DONE = "done"
    """The consumer returned, or refused a handshake."""

    LATER = "later"
    """The consumer asked for the message again, later."""

    EXPIRED = "expired"
    """It was not begun: its message had waited too long for a thread."""

    FAULT = "fault"
    """The consumer raised; it has been logged, and the client's answer added."""


class Run:
    """
    One delivery on its way through a thread.

    @ivar delivery: what was received.
    @ivar deadline: when it is too late to begin.
    @ivar postponed: how often its consumer has put it off.
    @ivar outbox: what the consumer sends.
    @ivar ending: how it ended; L{None} until it has.
    @ivar began: when a thread began with it, by the reactor's clock; L{None} until
        then.
    @ivar took: for how many seconds it ran.
    """

    __slots__ = ("began", "deadline", "delivery", "ending", "outbox", "postponed", "took")

    def __init__(self, delivery: Delivery, deadline: float = inf) -> None:
        self.delivery = delivery
        self.deadline = deadline
        self.postponed = postponements(delivery.message)
        self.outbox = Outbox()
        self.ending: Ending | None = None
        self.began: float | None = None
        self.took = 0.0

    @property
    def consumer(self) -> str:
        """The consumer's name, or where that is not known, words for it."""
        return self.outbox.consumer or f"the consumer of {self.delivery.channel!r}"

    @property
    def origin(self) -> Origin:
        """Who to name in the log where this run is spoken of."""
        return Origin(self.consumer, request_id_of(self.delivery.message))

    def again(self) -> Run:
        """The next run of the same delivery, which has been put off."""
        run = Run(self.delivery)
        run.postponed = self.postponed + 1
        return run


def perform(run: Run, application: IApplication, process: int = 0) -> None:
    """
    Run the consumer, to its end, in the calling thread.

    Every exception ends here, L{SystemExit} and L{KeyboardInterrupt} included:
    in a thread they would end the thread and nothing else.  They are logged
    here too, so that the site's C{__str__} and C{__repr__} methods, which may
    ask a database, run in a thread that may wait.

    @param process: the id of the process that it is run in: one that the consumer has
        forked, and that comes back here, ends.  0 where that is not looked for.
    """
    delivery = run.delivery
    message: dict[str, object] = dict(delivery.message)
    if run.postponed:
        message[RETRIES_KEY] = run.postponed
    try:
        try:
            application.run(delivery.channel, message, run.outbox)
        finally:
            if process and os.getpid() != process:
                _end_fork()
    except ConsumeLater:
        run.ending = Ending.LATER
    except DenyConnection:
        run.ending = _deny(run)
    except LayerUnavailable as error:
        # No fault of the site's, and each consumer meets it while it lasts: a line is enough.
        origin = run.origin
        _log.warn(
            "{consumer} could not finish with a message from channel {channel!r}"
            + origin.note
            + ": {error}",
            channel=delivery.channel,
            error=str(error),
            **origin.fields,
        )
        run.ending = _fault(run)
    except BaseException:
        origin = run.origin
        _log.failure(
            "{consumer} failed on a message from channel {channel!r}" + origin.note,
            channel=delivery.channel,
            **origin.fields,
        )
        run.ending = _fault(run)
    else:
        run.ending = Ending.DONE


def _end_fork() -> NoReturn:
    """
    End a process that a consumer has forked, as if its program had come to its end.

    It has none of the worker's other threads, and nobody whom it could tell how the run
    went; and the runs that wait in its copy of the queue are its parent's to perform.
    """
    error = sys.exc_info()[1]
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        status = 1
    try:
        if error is not None and not isinstance(error, SystemExit):
            traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(status & 0xFF)


def _deny(run: Run) -> Ending:
    delivery = run.delivery
    if delivery.channel == "websocket.connect":
        _add(run, denial(delivery.message))
        return Ending.DONE
    origin = run.origin
    _log.error(
        "{consumer} raised DenyConnection on a message from channel {channel!r}"
        + origin.note
        + ": only a consumer of 'websocket.connect' can refuse a connection; to end an open one, "
        "reply {{'close': True}}",
        channel=delivery.channel,
        **origin.fields,
    )
    return _fault(run)


def _fault(run: Run) -> Ending:
    delivery = run.delivery
    _add(run, answer_to_fault(delivery.channel, delivery.message, run.outbox.operations))
    return Ending.FAULT


def _add(run: Run, reply: Send | None) -> None:
    if reply is not None:
        run.outbox.operations.append(reply)
