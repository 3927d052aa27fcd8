"""What C{make} says on a machine where something is missing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parent.parent.parent

Machine = Callable[..., Path]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A function that makes a folder of programs to be the whole PATH."""

    def with_programs(**scripts: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in ("sh", "dirname"):
            real = shutil.which(name)
            assert real is not None
            (folder / name).symlink_to(real)
        for name, body in scripts.items():
            program = folder / name.replace("_", "-")
            program.write_text(f"#!/bin/sh\n{body}\n")
            program.chmod(0o755)
        return folder

    return with_programs


def tool(
    path: Path, name: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """What a tool does on a machine that has only the programs in C{path}."""
    return subprocess.run(
        [TREE / "tools" / name, *arguments],
        env={"PATH": str(path), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_python_one_line_says_which_is_needed(machine: Machine, tmp_path: Path) -> None:
    done = tool(machine(), "make-venv", str(tmp_path / "venv"))

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Python 3.11 or later" in done.stderr


def test_a_python_that_is_too_old_is_named(machine: Machine, tmp_path: Path) -> None:
    path = machine(python3_9="exit 1")

    done = tool(path, "make-venv", str(tmp_path / "venv"), PYTHON="python3-9")

    assert done.returncode == 1
    assert done.stderr == "python3-9 is not Python 3.11 or later: set PYTHON to one that is\n"


def test_without_the_venv_module_one_line_names_its_package(
    machine: Machine, tmp_path: Path
) -> None:
    old_debian = 'case "$2" in *ensurepip*) exit 1;; *print*) echo 3.11;; esac'
    path = machine(python3=old_debian, id="echo 1000")

    done = tool(path, "make-venv", str(tmp_path / "venv"))

    assert done.returncode == 1
    assert done.stderr == (
        "python3 has no venv module: install it with: sudo apt-get install python3.11-venv\n"
    )


def test_a_missing_program_is_named_where_we_may_not_install_it(machine: Machine) -> None:
    done = tool(machine(id="echo 1000", wrk="exit 0"), "need-programs", "wrk", "chromium")

    assert done.returncode == 1
    assert done.stderr == (
        "the tests use chromium: install it with: sudo apt-get install chromium\n"
    )


def test_a_missing_program_is_installed_where_we_are_root(machine: Machine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    path = machine(id="echo 0", apt_get=f'echo "$@" >> {log}')

    done = tool(path, "need-programs", "wrk")

    assert done.returncode == 0, done.stderr
    assert log.read_text().split()[-1] == "wrk"


def test_an_installation_that_fails_says_so(machine: Machine) -> None:
    done = tool(machine(id="echo 0", apt_get="exit 100"), "need-programs", "wrk")

    assert done.returncode == 1
    assert "could not install wrk" in done.stderr


def test_a_server_is_unpacked_and_not_installed(machine: Machine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    apt_get = (
        f'echo "$@" >> {log}\n'
        'case "$1" in\n'
        '  install) echo "Inst haproxy (2.6)"; echo "Inst liblua5.3-0 (5.3)";;\n'
        "  download) : > haproxy.deb; : > liblua.deb;;\n"
        "esac"
    )
    path = machine(apt_get=apt_get, dpkg_deb='echo "$1" "${2##*/}"')
    for name in ("mkdir", "sed", "rm"):
        real = shutil.which(name)
        assert real is not None
        (path / name).symlink_to(real)

    done = tool(path, "unpack-programs", str(tmp_path / "programs"), "haproxy", "sh")

    assert done.returncode == 0, done.stderr
    simulated, fetched = log.read_text().splitlines()
    assert simulated.startswith("install --simulate ")
    assert fetched.split()[-2:] == ["haproxy", "liblua5.3-0"]
    assert done.stdout.splitlines()[1:] == ["--extract haproxy.deb", "--extract liblua.deb"]


def test_a_server_that_cannot_be_fetched_is_named(machine: Machine, tmp_path: Path) -> None:
    path = machine(apt_get="exit 100", sed="exit 0", mkdir="exit 0")

    done = tool(path, "unpack-programs", str(tmp_path / "programs"), "haproxy")

    assert done.returncode == 1
    assert done.stderr == ("apt-get could not fetch haproxy, which the tests use: install them\n")
