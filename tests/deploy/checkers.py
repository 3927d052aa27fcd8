"""
The folder of programs that check files for operators.

C{python -m tests.deploy.checkers} makes it.  Where they cannot be had, tests that need
them are left out, and say so.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).with_name("requirements.txt")

FOLDER = Path(sys.prefix) / "checkers"


def folder() -> Path:
    """
    The folder, made anew when the list of what belongs there has changed.

    @raise CalledProcessError: it cannot be made.
    """
    made = FOLDER / "made-from.txt"
    wanted = REQUIREMENTS.read_text()
    if not made.exists() or made.read_text() != wanted:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        options = ["--upgrade", "--target", str(FOLDER)]
        subprocess.run([*pip, *options, "--requirement", str(REQUIREMENTS)], check=True)
        made.write_text(wanted)
    return FOLDER


def check(*command: str) -> None:
    """
    Run one of the programs over a file.

    @raise AssertionError: it found something; with what.
    """
    try:
        environment = {**os.environ, "PYTHONPATH": str(folder()), "PYTHONWARNINGS": "ignore"}
    except subprocess.CalledProcessError:
        pytest.skip(f"{command[0]} could not be installed")
    program = FOLDER / "bin" / command[0]
    if not program.exists():
        pytest.skip(f"there is no {command[0]} for this machine")
    done = subprocess.run(
        [program, *command[1:]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    try:
        folder()
    except subprocess.CalledProcessError:
        print("Some tests of docs/deploy are left out: their checkers cannot be had")  # noqa: T201
