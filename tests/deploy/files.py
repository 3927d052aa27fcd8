"""The files in C{docs/deploy}: the command lines in them, and copies that run here."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[2] / "docs" / "deploy"


def source(name: str) -> str:
    """One of the files."""
    return (DEPLOY / name).read_text(encoding="utf-8")


def adapted(name: str, changes: Mapping[str, str]) -> str:
    """
    One of the files with what differs here.

    @param changes: texts of the file, and what is to stand there.
    @raise AssertionError: one of the texts is not in the file.
    """
    text = source(name)
    for before, after in changes.items():
        assert before in text, f"{name} has no {before!r}"
        text = text.replace(before, after)
    return text


def joined(text: str) -> str:
    """A text with the lines together that end with a backslash."""
    return re.sub(r"\\\n\s*", "", text)


def command_lines(text: str) -> Iterator[list[str]]:
    """The options of every C{twistd … chanserv …} in a text of any kind."""
    for line in joined(text).splitlines():
        found = re.search(r"\btwistd? (?:-\S+ )*chanserv((?: .*)?)$", line)
        # Where it stands within a sentence it is not the whole of one.
        if found and "``" not in line:
            yield shlex.split(found[1].partition("#")[0])


def supervisord_command(program: str) -> list[str]:
    """The whole command of a program in C{supervisord.conf}."""
    config = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    config.read_string(source("supervisord.conf"))
    return shlex.split(config[f"program:{program}"]["command"])


def dockerfile() -> dict[str, list[str]]:
    """The instructions of the Dockerfile, each with what follows it wherever it stands."""
    found: dict[str, list[str]] = {}
    for line in joined(source("Dockerfile")).splitlines():
        word, _, rest = line.partition(" ")
        if word and not word.startswith("#"):
            found.setdefault(word, []).append(rest)
    return found


def dockerfile_command(instruction: str) -> list[str]:
    """What the last C{ENTRYPOINT} or C{CMD} has."""
    words: list[str] = json.loads(dockerfile()[instruction][-1])
    return words
