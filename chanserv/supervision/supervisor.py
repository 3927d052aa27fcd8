"""
The service that starts worker processes, watches them, and ends them.

What is to be done a L{Crew} decides; here it is done.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger, LogLevel

from chanserv.supervision.actions import Action, Kill, Replacement, Rules, Say, Spawn, Tell
from chanserv.supervision.crew import Crew
from chanserv.supervision.members import Member
from chanserv.supervision.relay import relay
from chanserv.supervision.release import Release
from chanserv.supervision.worker_process import CHILD_FDS, WorkerProcess
from chanserv.worker.past import Past
from chanserv.worker.status import WorkerState, WorkerStatus

TICK: Final = 0.5
"""Seconds between two looks at the clock: a part of the shortest wait."""

NOT_FOR_WORKERS: Final = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)
"""What systemd tells the supervisor alone, in its environment."""


class Supervisor(Service):
    """
    Runs the workers of a site in processes of their own.

    All methods are called on the reactor's thread.

    @ivar crew: who is there, and how they are.
    @ivar past: what workers did that have ended.
    @ivar heard: by key of a message, what is called with the slot of the worker
        that said it, and the value; for keys that nobody here knows.
    @ivar on_replacing: called when a replacement begins.
    @ivar on_replaced: called when it has ended, with whether it succeeded.
    @ivar on_left: called with the channel under which a worker stood on the roll
        of workers, when its process has ended.
    """

    _log: ClassVar = Logger(namespace="chanserv.supervision")

    def __init__(
        self,
        rules: Rules,
        orders: Mapping[str, Any],
        reactor: Any,
        *,
        release: Release | None = None,
        threads: int = 0,
        folder: str | None = None,
        command: Iterable[str] = (),
        child_fds: Mapping[int, str | int] = CHILD_FDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """
        @param orders: what each worker is told of its work, in plain values.
        @param release: the label of the code that workers run.
        @param threads: how many each has.
        @param folder: the directory that workers run in; L{None} for this one's.
        @param command: what is run; without it, C{chanserv.running.child} by this Python.
        @param child_fds: the descriptors of each worker, as L{CHILD_FDS} has them.
        @param chance: gives numbers from 0 to 1.
        """
        self.crew = Crew(rules, chance)
        self.past = Past()
        self.heard: dict[str, Callable[[int, Any], object]] = {}
        self.on_replacing: Callable[[], object] | None = None
        self.on_replaced: Callable[[bool], object] | None = None
        self.on_left: Callable[[str], object] | None = None
        self._orders = dict(orders)
        self._reactor = reactor
        self._release = release or Release()
        self._threads = threads
        self._folder = folder
        self._command = tuple(command) or child_command()
        self._child_fds = child_fds
        self._processes: dict[int, WorkerProcess] = {}
        self._beats: dict[int, WorkerStatus] = {}
        self._started: dict[int, float] = {}
        self._to_do: deque[Action] = deque()
        self._doing = False
        self._clock: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None
        self._worked = False
        self._waiting: list[Deferred[None]] = []

    # What an operator says

    def startService(self) -> None:
        """Start all workers, as soon as the reactor runs."""
        super().startService()  # type: ignore[no-untyped-call]
        self._reactor.callWhenRunning(self._begin)

    def replace(self, why: str) -> None:
        """
        Replace all workers by new ones that run the code as it is now.

        If one of these cannot be started, the old ones go on.

        @param why: for the log.
        """
        if self.crew.begun:
            self._do(self.crew.replace(self._now(), why))

    def reload(self, why: str) -> None:
        """
        Do the same, but give up a replacement that is under way: files have changed
        since it began.
        """
        self._do(self.crew.reload(self._now(), why))

    def stop_begins(self) -> None:
        """Say that what the supervisor is part of has begun to stop."""
        self._do(self.crew.hold(self._now()))

    def stopService(self) -> Deferred[None]:
        """
        Have all workers drain.

        @return: fires when the last has ended.
        """
        if self.running:
            super().stopService()  # type: ignore[no-untyped-call]
            self._stopped = Deferred()
            self._do(self.crew.stop(self._now()))
        if self._stopped is None or self._stopped.called:
            return succeed(None)
        also = Deferred[None]()
        self._stopped.chainDeferred(also)
        return also

    def when_working(self) -> Deferred[None]:
        """Give a Deferred that fires when a worker takes messages, or has since the start."""
        waiting = Deferred[None]()
        if self._worked:
            waiting.callback(None)
        else:
            self._waiting.append(waiting)
        return waiting

    def _works(self) -> None:
        self._worked = True
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def statuses(self) -> list[WorkerStatus]:
        """List all workers: each process there is, and each slot that waits for one."""
        found = [self._status(one) for one in self.crew.members.values()]
        for slot in self.crew.slots:
            if slot.member is None and not self.crew.stopping:
                waiting = WorkerStatus(slot.number, 0, WorkerState.WAITING, self._release.label)
                found.append(replace(waiting, restarts=max(slot.restarts, 0)))
        return sorted(found, key=lambda one: (one.slot, one.started))

    def _status(self, member: Member) -> WorkerStatus:
        number = member.number
        process = self._processes.get(number)
        beat = self._beats.get(number)
        known: dict[str, Any] = {
            "slot": member.slot,
            "pid": process.pid if process else 0,
            "state": member.state,
            "release": process.release if process else self._release.label,
            "started": self._started.get(number, 0.0),
            "restarts": max(self.crew.slots[member.slot - 1].restarts, 0),
        }
        return replace(beat, **known) if beat else WorkerStatus(**known, threads=self._threads)

    # What is done

    def _now(self) -> float:
        now: float = self._reactor.seconds()
        return now

    def _begin(self) -> None:
        if self.running:
            self._do(self.crew.begin(self._now()))
            self._tick()

    def _tick(self) -> None:
        if self.running or not self.crew.done:
            self._clock = self._reactor.callLater(TICK, self._tick)
            for process in self._processes.values():
                # One that has fallen silent says nothing that could bring this along.
                process.show_withheld()
            self._do(self.crew.tick(self._now()))

    def _do(self, actions: Iterable[Action]) -> None:
        """
        Do what the crew says.

        What is done may have the crew say more, as where a process cannot be
        started: that comes after it.
        """
        self._to_do.extend(actions)
        if self._doing:
            return
        self._doing = True
        try:
            while self._to_do:
                self._do_one(self._to_do.popleft())
        finally:
            self._doing = False
        if self._stopped is not None and self.crew.done and not self._stopped.called:
            if self._clock is not None and self._clock.active():
                self._clock.cancel()
            self._stopped.callback(None)

    def _do_one(self, action: Action) -> None:
        match action:
            case Spawn(member, slot):
                self._spawn(member, slot)
            case Tell(member, what) if member in self._processes:
                self._processes[member].say({"do": what})
            case Kill(member) if member in self._processes:
                self._processes[member].kill()
            case Say(level, text, fields, member):
                self._say(level, text, fields, member)
            case Replacement(None) if self.on_replacing is not None:
                self.on_replacing()
            case Replacement(bool(succeeded)) if self.on_replaced is not None:
                self.on_replaced(succeeded)

    def _spawn(self, member: int, slot: int) -> None:
        process = WorkerProcess(member, slot, self._said, self._printed, self._ended, self._reactor)
        process.release = self._release.read()
        self._processes[member] = process
        self._started[member] = time.time()
        try:
            self._reactor.spawnProcess(
                process,
                self._command[0],
                self._command,
                env={k: v for k, v in os.environ.items() if k not in NOT_FOR_WORKERS},
                childFDs=dict(self._child_fds),
            )
        except (OSError, ValueError) as error:
            # Out of processes, memory or descriptors: that may pass.
            program = self._command[0]
            why = getattr(error, "strerror", None) or error
            self.crew.failed(member, f"no process of {program} can be started: {why}")
            self._over(member, "")
            return
        process.say({"orders": self._orders, "slot": slot, **whereabouts(self._folder)})

    def _say(self, level: str, text: str, fields: Mapping[str, Any], member: int | None) -> None:
        process = None if member is None else self._processes.get(member)
        if process is not None and process.last_lines:
            text += ". Its last lines were:\n{last_lines}"
            fields = {**fields, "last_lines": "\n".join(f"  {one}" for one in process.last_lines)}
        release = self._release.label if process is None else process.release
        self._log.emit(LogLevel.lookupByName(level), text, release=release, **fields)

    # What is heard

    def _said(self, process: WorkerProcess, message: Mapping[str, Any]) -> None:
        for key, value in message.items():
            try:
                self._hear(process, key, value)
            except Exception:
                self._log.failure(
                    "What worker {worker} said could not be used: {key}",
                    worker=process.slot,
                    key=key,
                )

    def _hear(self, process: WorkerProcess, key: str, value: Any) -> None:
        now, number = self._now(), process.number
        match key, value:
            case "state", "loaded":
                self._do(self.crew.loaded(number, now))
            case "state", "running":
                self._log.info(
                    "Worker {worker} takes messages, as process {pid}",
                    worker=process.slot,
                    pid=process.pid,
                    release=process.release,
                )
                self._do(self.crew.running(number, now))
                self._works()
            case "beat", _:
                beat = self._beats[number] = WorkerStatus.from_dict(value)
                self._do(self.crew.beat(number, now, beat.blocked))
            case "log", _ if process.may_show():
                relay(value, process.slot, process.release)
            case "failed", _:
                self.crew.failed(number, str(value))
            case "asked", _:
                self._do(self.crew.asked(number, now))
            case "roll", _:
                process.roll = str(value)
            case _ if key in self.heard:
                self.heard[key](process.slot, value)

    def _printed(self, process: WorkerProcess, line: str) -> None:
        self._log.info(
            "[worker {worker}] {line}",
            worker=process.slot,
            line=line,
            release=process.release,
        )

    def _ended(self, process: WorkerProcess, how: str) -> None:
        self._over(process.number, how)
        if process.roll and self.on_left is not None:
            self.on_left(process.roll)

    def _over(self, number: int, how: str) -> None:
        """A process has ended, or never began."""
        last = self._beats.pop(number, None)
        if last is not None:
            self.past.add(replace(last, release=self._processes[number].release))
        # Its last lines belong to what is said of its end.
        self._do(self.crew.ended(number, self._now(), how))
        self._processes.pop(number, None)
        self._started.pop(number, None)


def child_command(module: str = "chanserv.running.child") -> tuple[str, ...]:
    """What runs a worker: this Python, with the options that it was given."""
    import subprocess

    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return (sys.executable, *options, "-m", module)


def whereabouts(folder: str | None) -> dict[str, Any]:
    """Where a worker is to be, and to look for code."""
    return {"folder": folder, "path": [one for one in sys.path if one]}
