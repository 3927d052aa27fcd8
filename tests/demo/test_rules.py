"""The demo's own tests, which say what its consumers and views do, pass."""

from __future__ import annotations

from pathlib import Path

from tests.demo.site import Site


def test_the_demos_own_tests_pass(tmp_path: Path) -> None:
    # In a process of their own: Django takes one site for each.
    output = Site(tmp_path).manage("test", "--noinput")
    assert "Ran 0 tests" not in output


def test_its_migrations_are_complete(tmp_path: Path) -> None:
    Site(tmp_path).manage("makemigrations", "--check", "--dry-run")
