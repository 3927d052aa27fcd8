"""
The folder that the old stack's layers are installed into.

They run on libraries (asgiref 1, msgpack 0.5, redis 2) that nothing else here
could live with, so they stand apart, and tests of them run in a process of their
own that looks there first.  C{python -m tests.layers.third_party.folder} makes it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")

FOLDER = Path(sys.prefix) / "third-party"


def folder() -> Path:
    """The folder, made anew when the list of what belongs there has changed."""
    made = FOLDER / "made-from.txt"
    wanted = REQUIREMENTS.read_text()
    if not made.exists() or made.read_text() != wanted:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        options = ["--no-deps", "--upgrade", "--target", str(FOLDER)]
        subprocess.run([*pip, *options, "--requirement", str(REQUIREMENTS)], check=True)
        made.write_text(wanted)
    return FOLDER


if __name__ == "__main__":
    folder()
