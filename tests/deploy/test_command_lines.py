"""Every command line in the files for operators, and on the pages, is one that we take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chanserv.tap import Options
from tests.deploy.files import (
    DEPLOY,
    command_lines,
    dockerfile_command,
    source,
    supervisord_command,
)

PAGES = [*sorted(DEPLOY.parent.glob("*.rst")), DEPLOY.parent.parent / "README.rst"]
FILES = sorted(DEPLOY.iterdir())


def parsed(words: list[str]) -> Options:
    """
    What our own parser makes of the words behind C{chanserv}.

    @raise UsageError: one of them is no option, or has a wrong value.
    """
    options = Options()
    options.parseOptions(words)
    return options


def of_chanserv(command: list[str]) -> list[str]:
    return command[command.index("chanserv") + 1 :]


def compose_commands() -> dict[str, list[str]]:
    """What each service of C{compose.yaml} runs behind the image's entry point."""
    _, _, services = source("compose.yaml").partition("\nservices:\n")
    blocks = re.split(r"^  (\w+):$", services, flags=re.MULTILINE)[1:]
    return {
        name: re.findall(r"^      - (--.*)$", block, re.MULTILINE)
        for name, block in zip(blocks[::2], blocks[1::2], strict=True)
    }


@pytest.mark.parametrize("path", [*FILES, *PAGES], ids=lambda path: path.name)
def test_every_command_line_is_taken(path: Path) -> None:
    for words in command_lines(path.read_text(encoding="utf-8")):
        if words not in ([], ["--help"]):
            parsed(words)


@pytest.mark.parametrize(
    "name", ["chanserv.service", "chanserv-front.service", "chanserv-workers.service"]
)
def test_each_unit_has_one(name: str) -> None:
    (words,) = command_lines(source(name))
    parsed(words)


def test_what_a_unit_listens_on_is_what_its_socket_is_called() -> None:
    (named,) = re.findall(r"^FileDescriptorName=(.*)$", source("chanserv.socket"), re.MULTILINE)
    for name in ("chanserv.service", "chanserv-front.service"):
        (words,) = command_lines(source(name))
        assert f"--listen=systemd:domain=INET:name={named}" in words


@pytest.mark.parametrize("program", ["front", "workers"])
def test_those_of_supervisord_are_taken(program: str) -> None:
    parsed(of_chanserv(supervisord_command(program)))


def test_both_programs_of_supervisord_name_one_layer() -> None:
    layers = {
        parsed(of_chanserv(supervisord_command(one)))["layer"] for one in ("front", "workers")
    }
    assert len(layers) == 1


def test_those_of_the_image_are_taken() -> None:
    words = dockerfile_command("ENTRYPOINT") + dockerfile_command("CMD")
    assert words[0] == "twistd"
    parsed(of_chanserv(words))


def test_those_of_each_container_are_taken() -> None:
    commands = compose_commands()
    assert {name for name, words in commands.items() if words} == {"front", "workers"}
    layers = {parsed(commands[name])["layer"] for name in ("front", "workers")}
    assert layers == {"redis://redis:6379/0"}
    assert "redis" in commands


def test_those_that_haproxy_speaks_of_are_taken() -> None:
    (line,) = re.findall(r"^# +(--listen=.*)$", source("haproxy.cfg"), re.MULTILINE)
    parsed(["--layer=redis://127.0.0.1:1/0", *line.split()])


def test_a_line_with_a_wrong_option_would_be_seen() -> None:
    (words,) = command_lines("$ twistd -n chanserv --setings=mysite.settings \\\n    --no-listen")
    assert words == ["--setings=mysite.settings", "--no-listen"]
    with pytest.raises(Exception, match="setings"):
        parsed(words)
