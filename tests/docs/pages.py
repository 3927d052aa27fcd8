"""The pages in C{docs}, as far as tests look into them."""

from __future__ import annotations

import re

from tests.docs.examples import DOCS

Options = dict[str, str | None]
"""Names of options, and the defaults that stand behind them in parentheses."""

_TERM = re.compile(r"``(?P<name>\w+)``(?: \((?P<default>[^)]*)\))?$")


def text(name: str) -> str:
    """The source of a page."""
    return (DOCS / f"{name}.rst").read_text(encoding="utf-8")


def section(name: str, label: str) -> str:
    """What stands on a page from a label to the next one, or to the end."""
    _, found, rest = text(name).partition(f".. _{label}:\n")
    assert found, f"docs/{name}.rst has no label {label}"
    return re.split(r"^\.\. _[\w-]+:$", rest, maxsplit=1, flags=re.MULTILINE)[0]


def options(source: str) -> Options:
    """
    The options that a page explains.

    Each is the term of a definition list: C{``name``}, or C{``name`` (default)}.
    Several that are explained together are terms of their own, one a line.
    """
    return {
        found["name"]: found["default"]
        for line in source.splitlines()
        if (found := _TERM.fullmatch(line))
    }
