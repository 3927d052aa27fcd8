"""Driver processes, and what their news add up to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

PATIENCE = 90.0
"""Seconds that a test waits for what must come, on a machine however busy."""

LONG = float(os.environ.get("CHANSERV_FAULTS_FACTOR", "1"))
"""How many times as much load as in the default suite: C{make faults} sets it."""

RATE = 400.0
"""Messages a second: far from what a layer can do, so that a busy machine keeps up."""

COUNT = round(RATE * 1.5 * LONG)
"""How many messages are sent, with the fault in the midst of them."""

SETTLE_AFTER = 0.05
"""Seconds that a worker takes over each message."""

TRY_AGAIN = 0.3
"""Seconds between two lots of messages that are to show whether all is well again."""


def wait_for(what: str, condition: Callable[[], object], seconds: float = PATIENCE) -> float:
    """
    Wait until something has come true.

    @return: how many seconds that took.
    @raise AssertionError: it has not.
    """
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - begin


def tried_for(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether something comes true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class DriverProcess:
    """
    One process of C{tests.faults.driver}, and the news from it.

    @ivar got: the numbers of the messages that it has received, in order.
    @ivar sent: the numbers of those that the layer took from it.
    @ivar refused: those that it did not, with the error.
    @ivar outcomes: the receipts that came, by number, in order.
    @ivar group_got: for each message of the group, how many members it was for, in the
        order of arrival.
    """

    def __init__(self, name: str, **orders: Any) -> None:
        self.name = name
        self.got: list[int] = []
        self.sent: set[int] = set()
        self.refused: dict[int, str] = {}
        self.outcomes: dict[int, list[str]] = {}
        self.group_got: list[tuple[int, int]] = []
        self.group_sent: set[int] = set()
        self.group_refused: dict[int, str] = {}
        self.failed: Counter[str] = Counter()
        self.counts: dict[str, int] = {}
        self.listed = -1
        self.ready = self.over = self.stopped = False
        self.errors = tempfile.NamedTemporaryFile(suffix=f".{name}.log")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.driver", json.dumps(orders)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._take(json.loads(line))

    def _take(self, news: dict[str, Any]) -> None:
        match news:
            case {"got": numbers}:
                self.got.extend(numbers)
            case {"sent": number}:
                self.sent.add(number)
            case {"refused": number, "error": error}:
                self.refused[number] = error
            case {"receipt": number, "outcome": outcome}:
                self.outcomes.setdefault(number, []).append(outcome)
            case {"group": number, "recipients": recipients}:
                self.group_got.append((number, recipients))
            case {"group_sent": number}:
                self.group_sent.add(number)
            case {"group_refused": number, "error": error}:
                self.group_refused[number] = error
            case {"failed": what}:
                self.failed[what] += 1
            case {"members": count}:
                self.listed = count
            case {"statistics": counts}:
                self.counts = counts
            case {"ready": True}:
                self.ready = True
            case {"sending": "over"}:
                self.over = True
            case {"stopped": True}:
                self.stopped = True
            case _:
                raise AssertionError(f"unknown news: {news}")

    def tell(self, **order: Any) -> None:
        """Give an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def send(self, channel: str, first: int, count: int, rate: float) -> None:
        """Have it send numbered messages with receipts."""
        self.over = False
        self.tell(send=[first, count], channel=channel, rate=rate)

    def statistics(self) -> dict[str, int]:
        """The layer's counts, as this process sees them."""
        self.counts = {}

        def answered() -> bool:
            if not self.counts:
                self.tell(statistics=True)
                time.sleep(0.2)
            return bool(self.counts)

        wait_for("statistics", answered)
        return self.counts

    def members(self) -> int:
        """How many members the group has, as this process sees it."""
        self.listed = -1
        self.tell(members=True)
        wait_for("the group's members", lambda: self.listed >= 0)
        return self.listed

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as C{kill -9} does."""
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        """What it has logged."""
        return Path(self.errors.name).read_text(errors="replace")

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            try:
                self.tell(stop=True)
                self.process.wait(20)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self.process.kill()
        self.process.wait()
        self._reader.join(10)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass
        self.errors.close()


class Crowd:
    """
    A sender, workers that read its channel, and owners of members of one group.

    @ivar owners: those that are to live; a test takes out whom it kills.
    """

    CHANNEL = "work"

    def __init__(self, spec: str, *, workers: int, owners: int, members: int, **config: Any):
        common = {"spec": spec, "config": config}
        self.members = members
        self.owners = [
            DriverProcess(f"owner{n}", box=f"owner.{n}!", members=members, **common)
            for n in range(owners)
        ]
        self.workers = [
            DriverProcess(f"worker{n}", reads=[self.CHANNEL], settle_after=SETTLE_AFTER, **common)
            for n in range(workers)
        ]
        self.sender = DriverProcess("sender", box="sender!", **common)
        self.all = [*self.owners, *self.workers, self.sender]
        self.first = self.next_number = 0
        self.next_group = 0

    @property
    def numbers(self) -> range:
        """The messages since the last fault."""
        return range(self.first, self.next_number)

    def start(self) -> None:
        """Wait until each is ready."""
        for one in self.all:
            wait_for(f"{one.name} is ready\n{one.log()}", lambda one=one: one.ready)

    def end(self) -> None:
        for one in self.all:
            one.end()

    # Traffic

    def load(self, count: int, rate: float) -> None:
        """Have numbered messages sent."""
        self.sender.send(self.CHANNEL, self.next_number, count, rate)
        self.next_number += count

    @property
    def got(self) -> list[int]:
        """The numbers that all workers together have received."""
        return [number for worker in self.workers for number in worker.got]

    def under_way(self) -> None:
        """Begin the load, and wait until it flows."""
        before = len(self.got)
        self.load(COUNT, RATE)
        wait_for("the load flows", lambda: len(self.got) > before + COUNT // 4)

    def flows(self) -> float:
        """
        Wait until what is newly sent arrives and is settled.

        @return: the seconds until it did.
        """

        lots: list[range] = []

        def settled() -> bool:
            return any(all(self.outcomes(n) == ["settled"] for n in lot) for lot in lots)

        def tried() -> bool:
            lots.append(range(self.next_number, self.next_number + 5))
            self.load(5, 1000)
            return tried_for(TRY_AGAIN, settled)

        return wait_for("new messages are sent, received and settled", tried)

    def answered(self, number: int) -> bool:
        """Whether the fate of a message is known to its sender."""
        return bool(self.outcomes(number)) or number in self.sender.refused

    def outcomes(self, number: int) -> list[str]:
        return self.sender.outcomes.get(number, [])

    def group_reaches_all(self, owners: list[DriverProcess] | None = None) -> float:
        """
        Wait until a message for the group reaches every member of each owner.

        @return: the seconds until one did.
        """
        owners = self.owners if owners is None else owners
        wanted = (self.members,) * len(owners)

        first = self.next_group

        def reached() -> bool:
            got = [dict(one.group_got) for one in owners]
            return any(
                wanted == tuple(one.get(number, 0) for one in got)
                for number in range(first, self.next_group)
            )

        def tried() -> bool:
            self.sender.tell(group=self.next_group)
            self.next_group += 1
            return tried_for(TRY_AGAIN, reached)

        return wait_for("a group message reaches all members", tried)

    # What it adds up to

    def every_fate_is_known(self) -> None:
        """
        Hold that no message is gone without a word to its sender, and none came twice.
        """
        wait_for("the sender has sent all", lambda: self.sender.over)
        try:
            wait_for(
                "the fate of every message is known",
                lambda: all(self.answered(number) for number in self.numbers),
            )
        except AssertionError as error:
            missing = [n for n in self.numbers if not self.answered(n)]
            raise AssertionError(f"{error}: {len(missing)} are not, as {missing[:10]}") from None
        self.nothing_came_twice()

    def nothing_came_twice(self) -> None:
        twice = [number for number, count in Counter(self.got).items() if count > 1]
        assert not twice, f"received twice: {twice[:10]}"
        doubled = [number for number, news in self.sender.outcomes.items() if len(news) > 1]
        assert not doubled, f"two receipts: {[(n, self.outcomes(n)) for n in doubled[:10]]}"
        for owner in self.owners:
            numbers = [number for number, _ in owner.group_got]
            assert len(numbers) == len(set(numbers)), f"{owner.name} got a group message twice"

    def figures(self) -> dict[str, int]:
        """What became of the messages since the last fault."""
        outcomes = Counter(self.outcomes(n)[0] for n in self.numbers if self.outcomes(n))
        refused = [n for n in self.numbers if n in self.sender.refused and not self.outcomes(n)]
        got = {number for number in self.got if number in self.numbers}
        unsettled = [number for number in got if self.outcomes(number)[:1] != ["settled"]]
        return {
            "sent": len(self.numbers),
            "received": len(got),
            "refused": len(refused),
            **{f"receipt {outcome}": count for outcome, count in sorted(outcomes.items())},
            "received, not settled": len(unsettled),
        }

    def losses_add_up(self) -> None:
        """
        Hold that what was not received is what the sender was told of: refused
        at once, expired, or lost.
        """
        for number in set(self.numbers).difference(self.got):
            told = number in self.sender.refused or self.outcomes(number)[0] in ("lost", "expired")
            assert told, (
                f"message {number} is gone, and its sender was told {self.outcomes(number)}"
            )

    def losses_are_counted(self) -> int:
        """
        Hold that the layer counts what its sender was told of as lost.

        @return: how many it counts: since its store was last empty, which may be
            long before the last fault.
        """
        lost = sum(self.outcomes(number) == ["lost"] for number in self.numbers)
        counted = 0

        def enough() -> bool:
            nonlocal counted
            counted = self.sender.statistics()["messages_lost_count"]
            return counted >= lost

        wait_for(f"all {lost} that were lost are counted", enough)
        return counted

    def logs(self) -> str:
        """What its processes have logged, each the last of it."""
        return "".join(
            f"--- {one.name}: {dict(one.failed)}\n{one.log()[-3000:]}\n" for one in self.all
        )


@contextmanager
def crowd(
    spec: str, *, workers: int = 2, owners: int = 2, members: int = 20, **config: Any
) -> Iterator[Crowd]:
    """A crowd that has started, and is ended with the block."""
    made = Crowd(spec, workers=workers, owners=owners, members=members, **config)
    try:
        made.start()
        yield made
    finally:
        made.end()


@contextmanager
def fault(them: Crowd, title: str, *, counts: bool = True) -> Iterator[dict[str, object]]:
    """
    What happens in the block is a fault; after it, hold all that is promised, and
    print what it has cost.

    @param counts: whether the layer's own counts are those of one store all along.
    @return: figures of the test's own, to be printed with the others.
    """
    own: dict[str, object] = {}
    them.first = them.next_number
    try:
        yield own
        flows = them.flows()
        groups = them.group_reaches_all()
        them.every_fate_is_known()
        them.losses_add_up()
        if counts:
            own["counted_as_lost"] = them.losses_are_counted()
    except BaseException:
        sys.stdout.write(them.logs())
        raise
    say(
        title,
        flows_after=flows,
        groups_after=groups,
        **them.figures(),
        **own,
    )


def say(title: str, **figures: object) -> None:
    """Print what a fault has cost: seen with C{-s}."""
    words = ", ".join(
        f"{name.replace('_', ' ')} {value:.2f} s" if isinstance(value, float) else f"{name} {value}"
        for name, value in figures.items()
    )
    sys.stdout.write(f"\n{title}: {words}\n")
