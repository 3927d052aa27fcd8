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

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

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

ASKED_GRACE: Final = 1.0
"""Seconds for which a worker that got a C{SIGTERM} of its own goes on: perhaps the
whole group of processes got it, and the supervisor hears of it in a moment."""


@dataclass(frozen=True, slots=True)
class Rules:
    """
    What an operator may say of it.

    @ivar workers: how many slots there are.
    @ivar stop_timeout: seconds that a worker which drains waits for its consumers.
    @ivar start_timeout: seconds that it may take to load the site.
    @ivar stuck_after: seconds without progress after which it counts as stuck.
    @ivar replace_stuck: whether it is then replaced.
    """

    workers: int
    stop_timeout: float = 10.0
    start_timeout: float = 120.0
    stuck_after: float = 60.0
    replace_stuck: bool = False


# What is to be done


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the process of a member."""

    member: int
    slot: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell a member what to do: C{go}, C{drain}, C{wait} or C{show}."""

    member: int
    what: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End a member's process at once."""

    member: int


@dataclass(frozen=True, slots=True)
class Say:
    """
    Log something.

    @ivar level: C{info}, C{warn} or C{error}.
    @ivar last_lines_of: the member whose last lines belong to it, if any.
    """

    level: str
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    last_lines_of: int | None = None


@dataclass(frozen=True, slots=True)
class Replacement:
    """
    A replacement begins or ends.

    @ivar succeeded: whether new workers have taken over; L{None} at its begin.
    """

    succeeded: bool | None = None


Action: TypeAlias = Spawn | Tell | Kill | Say | Replacement
Actions: TypeAlias = Iterator[Action]


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


class Crew:
    """
    All slots, and whoever is in them.

    @ivar slots: by number, less one.
    @ivar members: all processes there are, by number; those that drain, too.
    @ivar begun: whether the first have been started.
    @ivar replacing: why a replacement is under way; L{None} when none is.
    @ivar held: whether all is about to stop: no replacement begins any more.
    @ivar stopping: whether all drain, and nobody is started any more.
    """

    def __init__(self, rules: Rules, chance: Callable[[], float]) -> None:
        """
        @param chance: gives numbers from 0 to 1.
        """
        self.rules = rules
        self.slots = [Slot(number) for number in range(1, rules.workers + 1)]
        self.members: dict[int, Member] = {}
        self.begun = False
        self.replacing: str | None = None
        self.held = False
        self.stopping = False
        self._again: str | None = None
        self._chance = chance
        self._last = 0

    @property
    def done(self) -> bool:
        """Whether all have ended that were to."""
        return self.stopping and not self.members

    @property
    def working(self) -> int:
        """How many workers take messages."""
        return sum(one.state is WorkerState.RUNNING for one in self.members.values())

    # What an operator says

    def begin(self, now: float) -> Actions:
        """Fill every slot."""
        self.begun = True
        for slot in self.slots:
            slot.member = yield from self._spawn(slot, now)

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
            for slot in self.slots:
                slot.successor = yield from self._spawn(slot, now)

    def reload(self, now: float, why: str) -> Actions:
        """
        Have every slot taken over by a process that loads the code as it is now.

        One that has begun to load it may have read some of it too early, or waits for
        a change since what it has read cannot be loaded.  So a replacement that is
        under way is given up for this one.

        @param why: what the log is to say of it.
        """
        if self.replacing is not None and not self.held:
            self._again = None
            yield from self._abandon(now)
            yield from self._replaced(False, now)
        yield from self.replace(now, why)

    def hold(self, now: float) -> Actions:
        """Give up a replacement: all is about to stop."""
        self.held = True
        self._again = None
        if self.replacing is not None:
            yield from self._abandon(now)
            yield from self._replaced(False, now)

    def stop(self, now: float) -> Actions:
        """Have all drain."""
        yield from self.hold(now)
        self.stopping = True
        for slot in self.slots:
            slot.wake = None
            if slot.member is not None:
                yield from self._retire(slot.member, now)
                slot.member = None

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
            yield from self._fail(member, now, how)
        elif slot.member is member:
            yield from self._wait(slot, member, now, how)
        elif how:
            yield Say(
                "warn",
                "Worker {worker} did not end in order: {how}",
                {"worker": member.slot, "how": how},
                number,
            )

    def tick(self, now: float) -> Actions:
        """Time has passed; to be called every second or so."""
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
                slot.member = yield from self._spawn(slot, now)

    # Starting

    def _spawn(self, slot: Slot, now: float) -> Generator[Action, None, Member]:
        self._last += 1
        member = Member(self._last, slot.number, now, deadline=now + self.rules.start_timeout)
        self.members[member.number] = member
        slot.restarts += 1
        yield Spawn(member.number, slot.number)
        return member

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
        if member.failure:
            yield Say(
                "error", "Worker {worker} cannot start: {why}. Trying again in {wait} s", fields
            )
        else:
            what = "ended" if member.ran is not None else "ended before it had started"
            yield Say(
                "error",
                f"Worker {{worker}} {what}: {{how}}. Starting it again in {{wait}} s",
                fields,
                member.number,
            )

    # Replacing

    def _go_on(self, now: float) -> Actions:
        """One successor has got further: perhaps all have."""
        successors = [one.successor for one in self.slots if one.successor is not None]
        if any(one.state is WorkerState.STARTING for one in successors):
            return
        for successor in successors:
            if not successor.gone:
                yield from self._go(successor, now)
        if all(one.ran is not None for one in successors):
            yield from self._take_over(now)

    def _take_over(self, now: float) -> Actions:
        for slot in self.slots:
            before, slot.member, slot.successor = slot.member, slot.successor, None
            slot.wake = None
            slot.failures = 0
            if before is not None:
                yield from self._retire(before, now)
        yield Say(
            "info",
            "{workers} new workers have taken over: {why}",
            {"workers": len(self.slots), "why": self.replacing},
        )
        yield from self._replaced(True, now)

    def _fail(self, member: Member, now: float, how: str) -> Actions:
        """A successor has ended: all go, and those that they were to follow stay."""
        why = member.failure or f"it ended before it had taken over, with {how or 'exit status 0'}"
        yield Say(
            "error",
            "Workers are not replaced, and those that there are go on: new worker {worker} "
            "cannot start: {why}",
            {"worker": member.slot, "why": why},
            None if member.failure else member.number,
        )
        yield from self._abandon(now)
        yield from self._replaced(False, now)

    def _abandon(self, now: float) -> Actions:
        for slot in self.slots:
            successor, slot.successor = slot.successor, None
            if successor is not None and successor.number in self.members:
                slot.restarts -= 1
                yield from self._retire(successor, now)

    def _replaced(self, succeeded: bool, now: float) -> Actions:
        """A replacement is over: the wish that came meanwhile is next."""
        yield Replacement(succeeded)
        self.replacing = None
        again, self._again = self._again, None
        if again is not None and not self.held:
            yield from self.replace(now, again)

    # Ending

    def _retire(self, member: Member, now: float) -> Actions:
        """Have a member take nothing more, and end."""
        if member.state is WorkerState.DRAINING:
            return
        # Who has taken nothing has nothing to finish.
        patience = self.rules.stop_timeout if member.gone else 0.0
        member.state = WorkerState.DRAINING
        member.asked = None
        member.deadline = now + patience + KILL_AFTER
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

    def _asked_for_long_enough(self, member: Member, now: float) -> Actions:
        """A member's own signal was meant for it alone: another takes its place."""
        slot = self.slots[member.slot - 1]
        if slot.successor is member:
            member.failure = "it got a SIGTERM"
            yield from self._retire(member, now)
        elif slot.member is member:
            yield Say("info", "Worker {worker} was told to end", {"worker": member.slot})
            yield from self._follow(slot, now)

    def _follow(self, slot: Slot, now: float) -> Actions:
        """Retire the one at work, and have another follow at once."""
        assert slot.member is not None
        yield from self._retire(slot.member, now)
        slot.member = None
        if slot.successor is None:
            slot.member = yield from self._spawn(slot, now)
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
