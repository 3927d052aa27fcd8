"""Room for connections among the open files."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from chanserv.server.open_files import OTHER_FILES, make_room


@pytest.mark.parametrize(
    ("limits", "room", "after"),
    [
        ((1024, 100_000), 20_000, 20_000 + OTHER_FILES),
        ((1024, 5_000), 5_000, 5_000),
        ((1024, resource.RLIM_INFINITY), 20_000, 20_000 + OTHER_FILES),
        ((50_000, 100_000), 20_000, 50_000),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 20_000, resource.RLIM_INFINITY),
        ((64, 64), 64, 64),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_needed_and_allowed(
    monkeypatch: Any, limits: tuple[int, int], room: int, after: int
) -> None:
    now = [limits]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: now[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, new: now.append(new))
    assert make_room(20_000) == room
    assert now[-1] == (after, limits[1])


def test_a_system_that_refuses_is_taken_at_its_word(monkeypatch: Any) -> None:
    def refuse(kind: int, new: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert make_room(20_000) == 1024
