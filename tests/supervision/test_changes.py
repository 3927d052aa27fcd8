"""Tests for C{chanserv.supervision.changes}."""

from __future__ import annotations

from twisted.internet.task import Clock

from chanserv.supervision.changes import MAX_FILES, SETTLE, Changes


class Heard:
    """Changes that are gathered on a clock, and what came of them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reloads: list[str] = []
        self.changes = Changes(self.reloads.append, self.clock.callLater)

    def hear(self, path: str, when: float, slot: int = 1) -> None:
        self.changes.heard(slot, [path, when])


def test_a_change_is_reason_enough_once_others_had_time_to_follow() -> None:
    heard = Heard()
    heard.hear("a.py", 1)
    heard.clock.advance(SETTLE / 2)
    assert heard.reloads == []
    heard.clock.advance(SETTLE)
    assert heard.reloads == ["a.py has changed"]


def test_what_changes_at_once_is_one_reason() -> None:
    heard = Heard()
    for path in ("a.py", "b.py", "c.py"):
        heard.hear(path, 1)
    heard.clock.advance(SETTLE)
    assert heard.reloads == ["a.py and 2 more have changed"]


def test_one_change_that_two_workers_saw_counts_once() -> None:
    heard = Heard()
    heard.hear("a.py", 1, slot=1)
    heard.clock.advance(SETTLE)
    heard.hear("a.py", 1, slot=2)
    heard.clock.advance(SETTLE)
    assert heard.reloads == ["a.py has changed"]


def test_a_file_may_change_again_and_back() -> None:
    heard = Heard()
    for when in (1, 2, 1):
        heard.hear("a.py", when)
        heard.clock.advance(SETTLE)
    assert heard.reloads == ["a.py has changed"] * 3


def test_what_is_remembered_is_bounded() -> None:
    heard = Heard()
    for number in range(MAX_FILES + 10):
        heard.hear(f"{number}.py", 1)
    assert len(heard.changes._seen) <= MAX_FILES
