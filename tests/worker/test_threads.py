"""Tests for C{chanserv.worker.threads}."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable

import pytest

from chanserv.messages import Delivery, seal
from chanserv.worker.runs import Ending, Run
from chanserv.worker.threads import Threads, start_daemon_thread
from tests.processes import wait_until
from tests.worker.fakes import PATIENCE, FakeApplication


class Crew:
    """Threads whose way back to the reactor is a list that the test empties."""

    def __init__(self, consumer: Callable[..., object], number: int = 1) -> None:
        self.asked: list[Callable[[], None]] = []
        self.returned: list[Run] = []
        self.ended = 0
        self.now = 0.0
        self.members: list[threading.Thread] = []
        self.threads = Threads(
            FakeApplication(consumer),
            self.asked.append,
            self.returned.extend,
            self.note_end,
            lambda: self.now,
        )
        names = [f"member-{index}" for index in range(number)]
        self.threads.start(names, self.start)

    def start(self, work: Callable[[], None], name: str) -> threading.Thread:
        self.members.append(start_daemon_thread(work, name))
        return self.members[-1]

    def note_end(self) -> None:
        self.ended += 1

    def put(self, count: int, **options: float) -> None:
        for number in range(count):
            self.threads.put(Run(Delivery(("a",), seal({"number": number})), **options))

    def finish(self) -> None:
        """Let all that was put be run, and the threads end."""
        self.threads.end()
        for thread in self.members:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def turn(self) -> None:
        """What the reactor does with what threads asked for."""
        asked, self.asked[:] = list(self.asked), []
        for call in asked:
            call()


def test_a_thread_wakes_the_reactor_once_for_all_that_it_finishes_meanwhile() -> None:
    crew = Crew(lambda *_: None)
    crew.put(100)
    crew.finish()
    # Once for a hundred runs, and once to say that the thread has ended.
    assert len(crew.asked) == 2
    crew.turn()
    assert [run.delivery.message["number"] for run in crew.returned] == list(range(100))


def test_what_finishes_after_the_reactor_has_looked_wakes_it_again() -> None:
    done = threading.Semaphore(0)
    crew = Crew(lambda *_: done.release())
    for expected in (1, 2, 3):
        crew.put(1)
        assert done.acquire(timeout=PATIENCE)
        while not crew.asked:
            done.acquire(timeout=0.001)
        crew.turn()
        assert len(crew.returned) == expected
    crew.finish()


def test_the_last_thread_to_end_says_so() -> None:
    crew = Crew(lambda *_: None, number=3)
    crew.turn()
    assert crew.ended == 0
    crew.finish()
    crew.turn()
    assert crew.ended >= 1


def test_a_run_that_is_too_late_is_not_begun() -> None:
    ran: list[object] = []
    crew = Crew(lambda channel, message, outbox: ran.append(message["number"]))
    crew.now = 10.0
    crew.put(1, deadline=10.0)
    crew.put(1, deadline=10.1)
    crew.finish()
    crew.turn()
    assert [run.ending for run in crew.returned] == [Ending.EXPIRED, Ending.DONE]
    assert ran == [0]


def test_what_no_thread_has_begun_can_be_taken_back() -> None:
    gate, begun = threading.Event(), threading.Event()

    def consumer(channel: str, message: object, outbox: object) -> None:
        begun.set()
        gate.wait(PATIENCE)

    crew = Crew(consumer)
    crew.put(3)
    assert begun.wait(PATIENCE)
    taken = crew.threads.take_back()
    assert [run.delivery.message["number"] for run in taken] == [1, 2]
    gate.set()
    crew.finish()
    crew.turn()
    assert len(crew.returned) == 1


def test_threads_have_their_names_and_do_not_keep_the_process_from_ending() -> None:
    crew = Crew(lambda *_: None, number=2)
    assert [thread.name for thread in crew.members] == ["member-0", "member-1"]
    assert all(thread.daemon for thread in crew.members)
    crew.finish()


@pytest.mark.parametrize(
    ("leave", "status"),
    [
        (lambda: None, 0),
        (sys.exit, 0),
        (lambda: sys.exit(3), 3),
        (lambda: sys.exit("in words"), 1),
        (lambda: 1 / 0, 1),
    ],
)
def test_a_process_that_a_consumer_forks_ends_where_it_comes_back(
    leave: Callable[[], object], status: int
) -> None:
    runs, ran = os.pipe()
    children: list[int] = []

    def consumer(channel: str, message: dict[str, object], outbox: object) -> None:
        os.write(ran, b"%d" % message["number"])
        if message["number"] == 0:
            with warnings.catch_warnings():
                # Pythons that warn of it fear for locks, and the child takes none here.
                warnings.simplefilter("ignore", DeprecationWarning)
                children.append(os.fork())
            if children[-1] == 0:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                leave()

    crew = Crew(consumer)
    crew.put(2)
    crew.finish()
    [child] = children
    ends: list[int] = []

    def has_ended() -> bool:
        found, how = os.waitpid(child, os.WNOHANG)
        if found:
            ends.append(os.waitstatus_to_exitcode(how))
        return bool(found)

    try:
        wait_until(has_ended)
    finally:
        if not ends:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert ends == [status]
    # The run that waited was performed once: by the parent.
    assert os.read(runs, 100) == b"01"
    for descriptor in (runs, ran):
        os.close(descriptor)
