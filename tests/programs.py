"""Servers of other projects that tests run, such as proxies."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

UNPACKED = Path(sys.prefix) / "programs"
"""Where C{make programs} unpacks those whose installation would start a service."""


@dataclass(frozen=True)
class Program:
    """
    A program of the system.

    @ivar path: its file.
    @ivar environment: what it needs in its environment.
    """

    path: str
    environment: dict[str, str] = field(default_factory=dict)


def program(name: str) -> Program:
    """
    A program that is installed, or was unpacked by C{tools/unpack-programs}.

    @raise AssertionError: there is none; says how to have it.
    """
    # Servers stand in directories that not every user's PATH has.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    if found is not None:
        return Program(found)
    unpacked = UNPACKED / "usr" / "sbin" / name
    assert unpacked.exists(), f"there is no {name}: make programs fetches it"
    libraries = sorted(
        {str(one.parent) for top in ("lib", "usr/lib") for one in (UNPACKED / top).rglob("*.so*")}
    )
    return Program(str(unpacked), {"LD_LIBRARY_PATH": os.pathsep.join(libraries)})
