"""The Dockerfile and the compose file: their own tools read them, and they fit what is there."""

from __future__ import annotations

import re

import pytest

from tests.deploy.checkers import check
from tests.deploy.files import DEPLOY, dockerfile, dockerfile_command, source


def test_hadolint_has_nothing_against_the_dockerfile() -> None:
    check("hadolint", str(DEPLOY / "Dockerfile"))


def test_hadolint_would_have_something_against_a_wrong_one(tmp_path) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(source("Dockerfile").replace("COPY ", "COPPY "))
    with pytest.raises(AssertionError, match=r"Dockerfile:\d+"):
        check("hadolint", str(wrong))


def test_the_compose_file_is_as_the_specification_has_it() -> None:
    check("check-jsonschema", "--builtin-schema=vendor.compose-spec", str(DEPLOY / "compose.yaml"))


def test_the_specification_would_refuse_a_wrong_one(tmp_path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(source("compose.yaml").replace("stop_grace_period", "stop_patience"))
    with pytest.raises(AssertionError, match="stop_patience"):
        check("check-jsonschema", "--builtin-schema=vendor.compose-spec", str(wrong))


def test_what_the_image_copies_is_what_its_first_lines_ask_for() -> None:
    head, _, _ = source("Dockerfile").partition("\nFROM ")
    for copied in dockerfile()["COPY"]:
        assert re.search(rf"\b{re.escape(copied.split()[0])}\b", head), copied


def test_the_image_has_a_python_that_we_run_on() -> None:
    (image,) = dockerfile()["FROM"]
    found = re.fullmatch(r"python:3\.(\d+)-slim", image)
    assert found
    assert f"3.{found[1]}" in (DEPLOY.parents[1] / "setup.py").read_text()


def test_signals_reach_the_server_and_no_shell() -> None:
    assert dockerfile_command("ENTRYPOINT")[0] == "twistd"


def test_the_server_is_not_root() -> None:
    (user,) = dockerfile()["USER"]
    assert user not in ("0", "root")
