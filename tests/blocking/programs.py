"""Programs of a few lines, each a Python of its own, and what they say and end with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]

WARNINGS = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")
"""Warnings are errors, but for Python 3.12's of every fork of a process with threads."""

RUN_SECONDS = 120.0
"""How long a program may run: for a machine that does much else."""

_started: list[subprocess.Popen[str]] = []


def start(program: str, *, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """
    Start a program that may import C{tests}, with warnings as errors.

    It is in a process group of its own, where a test may press Ctrl-C.
    """
    process = subprocess.Popen(
        [sys.executable, *WARNINGS, "-c", dedent(program)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _started.append(process)
    return process


def end_all() -> None:
    """End what a test that failed has left behind."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for its end: the exit code, and what is left of its output and errors."""
    try:
        output, errors = process.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        # With the children that it may have.
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        raise AssertionError(f"it does not end; it has said {output!r} and {errors!r}") from None
    return process.returncode, output, errors


def printed(program: str, *, env: Mapping[str, str] | None = None) -> list[str]:
    """
    Run a program that ends well and complains of nothing.

    @return: the lines that it printed.
    """
    code, output, errors = ended(start(program, env=env))
    assert (code, errors) == (0, ""), f"{code}: {output}\n{errors}"
    return output.splitlines()
