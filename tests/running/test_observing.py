"""Tests for C{chanserv.running.observing}: what a process shows of itself, put together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from chanserv.running.config import Config
from chanserv.running.observing import process_of, tell_of_replacements
from chanserv.worker.past import Past
from chanserv.worker.status import WorkerState, WorkerStatus

RUNNING = WorkerStatus(0, 7, WorkerState.RUNNING, blocked=61.0)


def service(**parts: Any) -> Any:
    empty = {"server": None, "team": None, "supervisor": None, "running": True}
    return SimpleNamespace(**{**empty, **parts})


class Told:
    """What systemd is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def ready(self, status: str) -> None:
        self.said.append(f"ready: {status}")

    def reloading(self, status: str) -> None:
        self.said.append(f"reloading: {status}")


def test_threads_of_its_own_are_stuck_where_none_has_been_free_for_too_long() -> None:
    team = SimpleNamespace(status=lambda release: RUNNING)
    for stuck_after, state in ((61.0, WorkerState.STUCK), (62.0, WorkerState.RUNNING)):
        process = process_of(service(team=team), Config(stuck_after=stuck_after), "memory:", None)
        assert [worker.state for worker in process.now().workers] == [state]


def test_a_supervisor_shows_the_workers_that_it_has_and_had() -> None:
    past = Past()
    past.add(WorkerStatus(1, 6, WorkerState.DRAINING, "v1", counters={"runs": 2}))
    supervisor = SimpleNamespace(statuses=lambda: [RUNNING], past=past)
    snapshot = process_of(service(supervisor=supervisor), Config(), "ipc:site", None).now()
    assert snapshot.workers == [RUNNING]
    assert [(one.release, one.counters) for one in snapshot.past] == [("v1", {"runs": 2})]


def test_systemd_hears_when_a_replacement_begins_and_how_it_ended() -> None:
    told, supervisor = Told(), SimpleNamespace(on_replacing=None, on_replaced=None)
    tell_of_replacements(service(supervisor=supervisor, notices=told), "mysite")
    supervisor.on_replacing()
    supervisor.on_replaced(True)
    supervisor.on_replacing()
    supervisor.on_replaced(False)
    assert told.said == [
        "reloading: replacing workers",
        "ready: mysite",
        "reloading: replacing workers",
        "ready: mysite; the last replacement of workers failed, see the log",
    ]


def test_systemd_does_not_hear_that_a_process_is_ready_which_stops() -> None:
    told, supervisor = Told(), SimpleNamespace(on_replacing=None, on_replaced=None)
    stopping = service(supervisor=supervisor, notices=told, running=False)
    tell_of_replacements(stopping, "mysite")
    supervisor.on_replaced(False)
    assert told.said == []


def test_without_a_supervisor_there_is_nothing_to_hear() -> None:
    tell_of_replacements(service(), "mysite")
