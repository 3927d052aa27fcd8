"""
What is to be done about worker processes: decided here, done elsewhere.

A I{slot} is the place of one worker, numbered from 1.  A I{member} is one process
in a slot; its state goes::

    STARTING --loaded--> LOADED --go--> RUNNING <--> STUCK
        \\__________________|_______________|__________|__> DRAINING --> ended

A slot has one member at work, or waits with growing patience until it starts
another.  During a I{replacement} each slot has a successor too.  Only when every
successor runs do all of them take over, and those before them drain; if one fails,
all successors go, and all is as before.

Each method of L{Crew} takes the time, and gives what is to be done now, in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from chanserv.supervision.actions import Actions, Replacement, Rules, Say, Tell
from chanserv.supervision.members import Member, Slot
from chanserv.supervision.places import Places
from chanserv.worker.status import WorkerState

NOT_LATE: Final = 5.0
"""Seconds between two looks at the clock that are no sign of a supervisor which itself
was kept from running; after more, no silence of a worker is held against it."""

ASKED_GRACE: Final = 1.0
"""Seconds for which a worker that got a C{SIGTERM} of its own goes on: perhaps the
whole group of processes got it, and the supervisor hears of it in a moment."""


class Crew(Places):
    """
    All workers of one supervisor.

    @ivar begun: whether the first have been started.
    @ivar replacing: why a replacement is under way; L{None} when none is.
    @ivar held: whether all is about to stop: no replacement begins any more.
    @ivar stopping: whether all drain, and nobody is started any more.
    """

    def __init__(self, rules: Rules, chance: Callable[[], float]) -> None:
        """
        @param chance: gives numbers from 0 to 1.
        """
        super().__init__(rules, chance)
        self.begun = False
        self.replacing: str | None = None
        self.held = False
        self.stopping = False
        self._again: str | None = None
        self._to_come: list[Slot] = []
        self._ticked = 0.0

    @property
    def done(self) -> bool:
        """Whether all have ended that were to."""
        return self.stopping and not self.members

    # What an operator says

    def begin(self, now: float) -> Actions:
        """Fill every slot."""
        self.begun = True
        for slot in self.slots:
            yield from self._fill(slot, now)

    def replace(self, now: float, why: str) -> Actions:
        """
        Have every slot taken over by a new process.

        While that is under way, one further wish is remembered.

        @param why: what the log is to say of it.
        """
        if self.held or self.stopping:
            yield Say("warn", "No workers are replaced any more: chanserv is stopping")
        elif self.replacing is not None:
            if self._again is None:
                yield Say("info", "Workers are being replaced; once more when that is done")
            self._again = why
        else:
            self.replacing = why
            yield Replacement()
            yield Say(
                "info",
                "Replacing {workers} workers: {why}",
                {"workers": len(self.slots), "why": why},
            )
            self._to_come = list(self.slots)
            yield from self._load_more(now)

    def reload(self, now: float, why: str) -> Actions:
        """
        Have every slot taken over by a process that loads the code as it is now.

        One that has begun to load it may have read some of it too early, or waits for
        a change since what it has read cannot be loaded.  So a replacement that is
        under way is given up for this one.

        @param why: what the log is to say of it.
        """
        yield from self._give_up(now)
        yield from self.replace(now, why)

    def hold(self, now: float) -> Actions:
        """Give up a replacement: all is about to stop."""
        self.held = True
        yield from self._give_up(now)

    def stop(self, now: float) -> Actions:
        """Have all drain."""
        yield from self.hold(now)
        self.stopping = True
        for slot in self.slots:
            slot.wake = None
            slot.member = None
        # Those whose place another has taken, too: there is no more time.
        for member in list(self.members.values()):
            yield from self._retire(member, now)

    # What members say, and what becomes of them

    def loaded(self, number: int, now: float) -> Actions:
        """A member has loaded the site, and waits."""
        member = self.members.get(number)
        if member is None or member.state is not WorkerState.STARTING:
            return
        member.state = WorkerState.LOADED
        member.deadline = None
        if self.slots[member.slot - 1].successor is member:
            yield from self._go_on(now)
        else:
            yield from self._go(member, now)

    def running(self, number: int, now: float) -> Actions:
        """A member takes messages."""
        member = self.members.get(number)
        if member is None or member.state is not WorkerState.LOADED:
            return
        member.state = WorkerState.RUNNING
        member.deadline = None
        member.ran = member.sign = now
        self._one_runs()
        if self.slots[member.slot - 1].successor is member:
            yield from self._go_on(now)

    def beat(self, number: int, now: float, blocked: float) -> Actions:
        """
        A member gives a sign of life.

        @param blocked: seconds for which each of its threads has run the same
            consumer.
        """
        member = self.members.get(number)
        if member is None:
            return
        member.sign = now
        member.blocked = blocked
        if member.state is WorkerState.STUCK and blocked < self.rules.stuck_after:
            member.state = WorkerState.RUNNING
            yield Say("info", "Worker {worker} works again", {"worker": member.slot})

    def failed(self, number: int, why: str) -> None:
        """A member says why it cannot start; it is about to end."""
        if number in self.members:
            self.members[number].failure = why

    def asked(self, number: int, now: float) -> Actions:
        """A member got a C{SIGTERM} of its own."""
        member = self.members.get(number)
        if member is None or member.state is WorkerState.DRAINING:
            return
        yield Tell(number, "wait")
        if member.asked is None:
            member.asked = now + ASKED_GRACE

    def ended(self, number: int, now: float, how: str) -> Actions:
        """
        A member's process has ended.

        @param how: such as C{exit status 1}; empty where it ended in order.
        """
        member = self.members.pop(number, None)
        if member is None:
            return
        slot = self.slots[member.slot - 1]
        if slot.successor is member:
            how = how or "exit status 0"
            why = member.failure or f"its process ended before it had taken over: {how}"
            yield from self._fail(member, now, why)
        elif slot.member is member:
            yield from self._wait(slot, member, now, how)
        elif how and member.gone:
            yield Say(
                "warn",
                "Worker {worker} did not end in order: {how}",
                {"worker": member.slot, "how": how},
                number,
            )
        elif member.gone:
            yield Say("info", "Worker {worker} has ended in order", {"worker": member.slot})

    def tick(self, now: float) -> Actions:
        """Time has passed; to be called every second or so."""
        if now - self._ticked > NOT_LATE:
            for member in self.members.values():
                member.sign = now
        self._ticked = now
        for member in list(self.members.values()):
            if member.deadline is not None and now >= member.deadline:
                yield from self._too_late(member)
            elif member.asked is not None and now >= member.asked and not self.held:
                member.asked = None
                yield from self._asked_for_long_enough(member, now)
        for slot in self.slots:
            if slot.member is not None:
                yield from self._look_at(slot, slot.member, now)
            elif slot.wake is not None and now >= slot.wake and slot.successor is None:
                slot.wake = None
                yield from self._fill(slot, now)

    # Replacing

    def _load_more(self, now: float) -> Actions:
        """Start as many successors as may load at once."""
        loading = sum(
            one.successor is not None and one.successor.state is WorkerState.STARTING
            for one in self.slots
        )
        while self._to_come and loading < self.rules.loading:
            slot = self._to_come.pop(0)
            slot.successor = yield from self._spawn(slot, now)
            loading += 1

    def _go_on(self, now: float) -> Actions:
        """One successor has got further: perhaps all have."""
        yield from self._load_more(now)
        successors = [one.successor for one in self.slots if one.successor is not None]
        if any(one.state is WorkerState.STARTING for one in successors):
            return
        for successor in successors:
            if not successor.gone:
                yield from self._go(successor, now)
        if all(one.ran is not None for one in successors):
            yield from self._take_over(now)

    def _take_over(self, now: float) -> Actions:
        # Whoever is left of the replacement before had its time: processes do not pile up.
        for member in list(self.members.values()):
            if member.state is WorkerState.DRAINING:
                yield from self._retire(member, now)
        for slot in self.slots:
            before, slot.member, slot.successor = slot.member, slot.successor, None
            slot.wake = None
            slot.failures = 0
            slot.restarts += 1
            if before is not None:
                yield from self._retire(before, now, self.rules.finish_timeout)
        yield Say(
            "info",
            "{workers} new workers have taken over: {why}",
            {"workers": len(self.slots), "why": self.replacing},
        )
        yield from self._replaced(True, now)

    def _fail(self, member: Member, now: float, why: str) -> Actions:
        """A successor is of no use: all go, and those that they were to follow stay."""
        yield Say(
            "error",
            "Workers are not replaced{rest}: new worker {worker} cannot start: {why}",
            {
                "worker": member.slot,
                "why": why,
                "rest": ", and those at work go on" if self.working else "",
            },
            None if member.failure else member.number,
        )
        yield from self._abandon(now)
        yield from self._replaced(False, now)

    def _give_up(self, now: float) -> Actions:
        """Give up a replacement that is under way, and the wish for another."""
        self._again = None
        if self.replacing is not None:
            yield from self._abandon(now)
            yield from self._replaced(False, now)

    def _abandon(self, now: float) -> Actions:
        self._to_come = []
        for slot in self.slots:
            successor, slot.successor = slot.successor, None
            if successor is None:
                continue
            if successor.number in self.members:
                yield from self._retire(successor, now, self.rules.finish_timeout)

    def _replaced(self, succeeded: bool, now: float) -> Actions:
        """A replacement is over: the wish that came meanwhile is next."""
        yield Replacement(succeeded)
        self.replacing = None
        again, self._again = self._again, None
        if again is not None and not self.held:
            yield from self.replace(now, again)

    # Ending

    def _asked_for_long_enough(self, member: Member, now: float) -> Actions:
        """A member's own signal was meant for it alone: another takes its place."""
        slot = self.slots[member.slot - 1]
        if slot.successor is member:
            member.failure = "it got a SIGTERM"
            yield from self._fail(member, now, member.failure)
        elif slot.member is member:
            yield Say("info", "Worker {worker} was told to end", {"worker": member.slot})
            yield from self._follow(slot, now)

    def _follow(self, slot: Slot, now: float) -> Actions:
        """Retire the one at work, and have another follow at once."""
        assert slot.member is not None
        yield from self._retire(slot.member, now)
        slot.member = None
        if slot.successor is None:
            yield from self._fill(slot, now)
        else:
            slot.wake = now

    # Watching

    def _look_at(self, slot: Slot, member: Member, now: float) -> Actions:
        """See whether a member gets on."""
        if member.state is not WorkerState.RUNNING:
            return
        silent = now - member.sign
        if silent > self.rules.stuck_after:
            trouble = f"has given no sign of life for {silent:.0f} s"
        elif member.blocked > self.rules.stuck_after:
            trouble = f"has had all its threads in the same consumers for {member.blocked:.0f} s"
        else:
            return
        member.state = WorkerState.STUCK
        yield Say(
            "error",
            "Worker {worker} {trouble} (--stuck-after){rest}. What it does:",
            {
                "worker": slot.number,
                "trouble": trouble,
                "rest": ", and is replaced" if self.rules.replace_stuck else "",
            },
        )
        yield Tell(member.number, "show")
        if self.rules.replace_stuck:
            yield from self._follow(slot, now)
