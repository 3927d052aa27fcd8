"""Tests that C{docs/running.rst} says of the options what is so."""

from __future__ import annotations

import re

import pytest

from chanserv.options.table import CHOICES, GROUPS
from tests.docs.pages import DOCS

PAGE = (DOCS / "running.rst").read_text(encoding="utf-8")

ROWS = re.findall(r"^``--([a-z0-9-]+)`` +(\S+) {2,}\S", PAGE, re.MULTILINE)
"""Names and defaults in the tables."""


def test_every_option_is_explained_but_for_limits_that_the_help_has() -> None:
    named = set(re.findall(r"``--([a-z0-9-]+)", PAGE))
    wanted = {
        choice.name for title, group in GROUPS for choice in group if not title.startswith("Limits")
    }
    assert wanted - named == set()


def test_it_speaks_of_the_help_for_the_others() -> None:
    assert "``--help`` lists all options" in PAGE
    assert ROWS


@pytest.mark.parametrize(("name", "default"), ROWS)
def test_a_default_in_a_table_is_that_of_the_option(name: str, default: str) -> None:
    choice = CHOICES[name]
    read = choice.kind.read
    assert read(default) == choice.default


def test_each_option_is_explained_in_one_place() -> None:
    explained = re.findall(r"^``--[^\n]*$(?=\n   \S)", PAGE, re.MULTILINE)
    names = [name for line in explained for name in re.findall(r"``--([a-z0-9-]+)", line)]
    of_runworker = PAGE.partition("manage.py runworker\n")[2].partition("\n.. _")[0]
    for name in set(names):
        here = names.count(name) - (f"\n``--{name}=" in of_runworker)
        assert here <= 1, name
