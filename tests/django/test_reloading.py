"""Tests for C{chanserv.django.reloading}."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils.autoreload import autoreload_started, file_changed

from chanserv.django.reloading import Watch, files_of
from tests.processes import wait_until

BROKEN = {
    "outer.py": (
        "try:\n    import middle_of_three\n"
        "except NameError as error:\n    raise ImportError('no') from error\n"
    ),
    "middle_of_three.py": "import inner_of_three\n",
    "inner_of_three.py": "import time\nnothing_of_that_name\n",
    "wrong.py": "x = = 1\n",
}


@pytest.fixture
def changes() -> list[tuple[str, float]]:
    return []


@pytest.fixture
def watch(changes: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setattr(Watch, "SLEEP_TIME", 0)
    made = Watch(lambda path, when: changes.append((path, when)))
    yield made
    made.stop()


def touch(file: Path, when: int) -> None:
    file.touch()
    os.utime(file, (when, when))


def test_a_changed_file_is_told_with_its_time(
    watch: Watch, changes: list[tuple[str, float]], tmp_path: Path
) -> None:
    file = tmp_path / "watched"
    touch(file, 1000)
    watch.extra_files.add(file)
    looks = watch.tick()
    next(looks)
    next(looks)
    assert changes == []
    touch(file, 2000)
    next(looks)
    next(looks)
    assert changes == [(str(file), 2000.0)]
    touch(file, 3000)
    next(looks)
    assert changes[1:] == [(str(file), 3000.0)]


def test_a_change_that_a_receiver_has_dealt_with_is_not_told(
    watch: Watch, changes: list[tuple[str, float]]
) -> None:
    def deals(**kwargs: Any) -> bool:
        return True

    def fails(**kwargs: Any) -> None:
        raise RuntimeError

    file_changed.connect(fails)
    try:
        watch.notify_file_changed(Path("/nowhere/a"))
        file_changed.connect(deals)
        watch.notify_file_changed(Path("/nowhere/b"))
    finally:
        file_changed.disconnect(fails)
        file_changed.disconnect(deals)
    assert changes == [("/nowhere/a", 0.0)]


def test_what_receivers_add_when_watching_begins_is_watched(
    watch: Watch, changes: list[tuple[str, float]], tmp_path: Path
) -> None:
    file = tmp_path / "made.of.that"
    touch(file, 1000)
    started: list[Any] = []

    def add(sender: Any, **kwargs: Any) -> None:
        sender.watch_dir(tmp_path, "*.that")
        started.append(sender)

    autoreload_started.connect(add)
    try:
        watch.begin()
        wait_until(lambda: started)
    finally:
        autoreload_started.disconnect(add)

    def told() -> bool:
        touch(file, 1000 + len(looks))
        looks.append(1)
        return bool(changes)

    looks: list[int] = []
    wait_until(told)
    assert changes[0][0] == str(file)


@pytest.mark.parametrize(
    ("module", "names"),
    [("outer", {"outer.py", "middle_of_three.py", "inner_of_three.py"}), ("wrong", {"wrong.py"})],
)
def test_all_files_that_an_error_went_through_are_known(
    module: str, names: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in BROKEN.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    with pytest.raises((ImportError, SyntaxError)) as caught:
        importlib.import_module(module)
    assert set(sys.modules) - before <= {"time"}
    ours = {file.name for file in files_of(caught.value) if file.parent == tmp_path}
    assert ours == names
