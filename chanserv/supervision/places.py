"""
What can be done about one worker at a time: start it, start it again, end it.

When that is done L{Crew<chanserv.supervision.crew.Crew>} decides.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

from chanserv.supervision.actions import Action, Actions, Kill, Rules, Say, Spawn, Tell
from chanserv.supervision.members import Member, Slot
from chanserv.worker.status import WorkerState

FIRST_WAIT: Final = 1.0
"""Seconds before a worker that has ended is started again: what made it end may
pass, such as a database that starts as well."""

LONGEST_WAIT: Final = 30.0
"""Seconds that the doubled wait never passes: an error that has been corrected is
noticed before its operator wonders."""

JITTER: Final = 0.25
"""Part of a wait that is left to chance, so that workers which ended together do
not all load a site in the same moment."""

GOOD_RUN: Final = 60.0
"""Seconds after which a worker that runs has shown that it can: the next wait is
the first again."""

KILL_AFTER: Final = 5.0
"""Seconds beyond its time to stop that a worker has before it is killed: to give
back what it has, and to end."""

SAME_REASON: Final = 5.0
"""Seconds for which a reason that has been logged is not logged again for the next
worker: what keeps one from starting mostly keeps all."""


class Places:
    """
    All slots, and whoever is in them.

    @ivar slots: by number, less one.
    @ivar members: all processes there are, by number; those that drain, too.
    """

    def __init__(self, rules: Rules, chance: Callable[[], float]) -> None:
        """
        @param chance: gives numbers from 0 to 1.
        """
        self.rules = rules
        self.slots = [Slot(number) for number in range(1, rules.workers + 1)]
        self.members: dict[int, Member] = {}
        self._chance = chance
        self._last = 0
        self._complained: tuple[str, float] = ("", 0.0)
        self._said_that_none_is_left = False

    @property
    def working(self) -> int:
        """How many workers take messages."""
        return sum(one.state is WorkerState.RUNNING for one in self.members.values())

    # Starting

    def _spawn(self, slot: Slot, now: float) -> Generator[Action, None, Member]:
        self._last += 1
        member = Member(self._last, slot.number, now, deadline=now + self.rules.start_timeout)
        self.members[member.number] = member
        yield Spawn(member.number, slot.number)
        return member

    def _fill(self, slot: Slot, now: float) -> Actions:
        """Start a process that has the slot from its first moment."""
        slot.member = yield from self._spawn(slot, now)
        slot.restarts += 1

    def _go(self, member: Member, now: float) -> Actions:
        member.gone = True
        member.deadline = now + self.rules.start_timeout
        yield Tell(member.number, "go")

    def _wait(self, slot: Slot, member: Member, now: float, how: str) -> Actions:
        """The one at work is gone: another follows in a while."""
        slot.member = None
        if member.ran is not None and now - member.ran >= GOOD_RUN:
            slot.failures = 0
        wait = min(FIRST_WAIT * 2.0 ** min(slot.failures, 16), LONGEST_WAIT)
        wait *= 1 - JITTER * self._chance()
        slot.failures += 1
        slot.wake = now + wait
        fields = {
            "worker": slot.number,
            "how": how or "exit status 0, though nobody had told it to",
            "why": member.failure,
            "wait": f"{wait:.1f}",
        }
        said, when = self._complained
        if member.failure and member.failure == said and now - when < SAME_REASON:
            text = "Worker {worker} cannot start, for the same reason. Trying again in {wait} s"
            yield Say("error", text, fields)
        elif member.failure:
            self._complained = member.failure, now
            text = "Worker {worker} cannot start: {why}. Trying again in {wait} s"
            yield Say("error", text, fields)
        else:
            what = "ended" if member.ran is not None else "ended before it had started"
            yield Say(
                "error",
                f"Worker {{worker}} {what}: {{how}}. Starting it again in {{wait}} s",
                fields,
                member.number,
            )
        yield from self._say_if_none_is_left()

    def _one_runs(self) -> None:
        """A member runs: that none is left is to be said again when it is so."""
        self._said_that_none_is_left = False

    def _say_if_none_is_left(self) -> Actions:
        none_left = not any(slot.member or slot.successor for slot in self.slots)
        if none_left and not self._said_that_none_is_left:
            self._said_that_none_is_left = True
            yield Say(
                "error",
                "No worker is left. What comes waits for one, within its limits. All are tried "
                "again; SIGHUP tries at once",
            )

    # Ending

    def _retire(self, member: Member, now: float, patience: float | None = None) -> Actions:
        """
        Have a member take nothing more, and end.

        @param patience: seconds that it may take, if more than for a stop.
        """
        if member.state is WorkerState.DRAINING:
            yield from self._hurry(member, now)
            return
        # Who has taken nothing has nothing to finish; who loads the site may not even hear.
        loads = member.state is WorkerState.STARTING
        soon = patience is None or not member.gone
        if patience is None:
            patience = self.rules.stop_timeout
        if not member.gone:
            patience = 0.0
        member.state = WorkerState.DRAINING
        member.asked = None
        member.deadline = now + patience + KILL_AFTER
        if loads:
            member.deadline = None
            yield Kill(member.number)
        else:
            yield Tell(member.number, "drain" if soon else "finish")

    def _hurry(self, member: Member, now: float) -> Actions:
        """Give a member that drains no more time than for a stop."""
        soon = now + self.rules.stop_timeout + KILL_AFTER
        if member.deadline is not None and member.deadline > soon:
            member.deadline = soon
            yield Tell(member.number, "drain")

    def _too_late(self, member: Member) -> Actions:
        member.deadline = None
        if member.state is WorkerState.DRAINING:
            yield Say(
                "warn",
                "Worker {worker} has not ended in time, and is killed",
                {"worker": member.slot},
            )
        elif not member.failure:
            member.failure = (
                f"it has not loaded the site within {self.rules.start_timeout:g} s "
                f"(--start-timeout)"
            )
        yield Kill(member.number)
