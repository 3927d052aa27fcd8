"""Tests for C{chanserv.running.child}, without a process: see C{tests.supervision} for those."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from chanserv.running.child import Worker, orders
from chanserv.running.config import Config
from chanserv.worker.status import WorkerState, WorkerStatus

CONFIG = Config(settings="mysite.settings", layer="ipc:mysite", workers=1)


class Said:
    """A link that notes what is said."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def say(self, message: dict[str, Any], *, needed: bool = True) -> None:
        self.messages.append(message)


class OneTurn:
    """A reactor that is told to stop at once."""

    def __init__(self, meanwhile: Any) -> None:
        self._meanwhile = meanwhile
        self._first: list[Any] = []

    def addSystemEventTrigger(self, *args: object) -> None:
        """What the stop would be."""

    def callWhenRunning(self, call: Any, *args: object) -> None:
        self._first.append((call, args))

    def callLater(self, seconds: float, call: object) -> None:
        """There is no later."""

    def run(self, installSignalHandlers: bool = True) -> None:
        for call, args in self._first:
            call(*args)
        self._meanwhile()


def test_what_it_has_done_since_its_last_sign_of_life_is_told_at_the_end() -> None:
    runs = {"runs": 1}
    link = Said()

    def status() -> WorkerStatus:
        return WorkerStatus(0, 7, WorkerState.RUNNING, counters=dict(runs))

    worker = Worker(link, {"orders": orders(CONFIG)})  # type: ignore[arg-type]
    service: Any = SimpleNamespace(team=SimpleNamespace(status=status), stopService=None)
    worker._service = service
    worker._reactor = OneTurn(lambda: runs.update(runs=5))
    worker._serve()
    beats = [one["beat"]["counters"]["runs"] for one in link.messages if "beat" in one]
    assert beats == [1, 5]
