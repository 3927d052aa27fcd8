"""The places of workers, and the processes that have them."""

from __future__ import annotations

from dataclasses import dataclass

from chanserv.worker.status import WorkerState


@dataclass(slots=True, eq=False)
class Member:
    """
    One process.

    @ivar number: its own, never used again.
    @ivar began: when it was started.
    @ivar ran: when it began to take messages; L{None} before that.
    @ivar deadline: when it is killed unless something has come by then.
    @ivar sign: when it last gave a sign of life.
    @ivar blocked: for how long it then had no thread that got anywhere.
    @ivar asked: when it is to drain, since it got a signal of its own.
    @ivar failure: why it could not start, in its own words.
    @ivar gone: whether it has been told to C{go}.
    """

    number: int
    slot: int
    began: float
    state: WorkerState = WorkerState.STARTING
    ran: float | None = None
    deadline: float | None = None
    sign: float = 0.0
    blocked: float = 0.0
    asked: float | None = None
    failure: str = ""
    gone: bool = False


@dataclass(slots=True, eq=False)
class Slot:
    """
    The place of one worker.

    @ivar member: who has it.
    @ivar successor: who is to have it, during a replacement.
    @ivar wake: when the next one is started, where nobody has it.
    @ivar failures: how many have ended early in a row.
    @ivar restarts: how often it has been filled anew.
    """

    number: int
    member: Member | None = None
    successor: Member | None = None
    wake: float | None = None
    failures: int = 0
    restarts: int = -1
