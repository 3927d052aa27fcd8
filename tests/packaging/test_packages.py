"""
The package as its users get it: built, installed into new environments, run
there and removed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.processes import free_port, served

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

TREE = Path(__file__).resolve().parent.parent.parent
NOT_SOURCE = shutil.ignore_patterns(
    ".*", "*.egg-info", "__pycache__", "build", "dist", "_build", "demo", "benchmarks"
)

TINY_SITE = """
from django.http import HttpResponse
from django.urls import path

SECRET_KEY = "of no use to anybody"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
INSTALLED_APPS = []

urlpatterns = [path("", lambda request: HttpResponse("served from a wheel"))]
"""


def run(*command: str | Path, cwd: Path) -> str:
    """
    What a program that must succeed prints, run as from a user's shell.

    @param cwd: where; never the tree, whose packages would be found first.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=clean,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, with the file that Twisted leaves in a used one."""
    copy = tmp_path_factory.mktemp("source") / "chanserv"
    shutil.copytree(TREE, copy, ignore=NOT_SOURCE)
    (copy / "twisted" / "plugins" / "dropin.cache").write_bytes(b"left by Twisted")
    return copy


@pytest.fixture(scope="module")
def built(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--outdir", folder, tree, cwd=folder)
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


class Environment:
    """A new virtual environment, and a folder to stand in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "venv" / "bin"
        run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)

    def pip(self, *arguments: str | Path) -> str:
        return run(self.programs / "python", "-m", "pip", "--quiet", *arguments, cwd=self.folder)

    def lists_chanserv(self) -> list[bool]:
        """Whether C{twistd --help} and C{twist --help} list it."""
        found = []
        for runner in ("twistd", "twist"):
            text = run(self.programs / runner, "--help", cwd=self.folder)
            assert "web" in text.split(), text
            found.append("chanserv" in text.split())
        return found


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One environment for the tests that follow, each of which says what it holds."""
    return Environment(tmp_path_factory.mktemp("environment"))


def source_files(tree: Path) -> set[str]:
    """All files that users need, by their path in the tree."""
    files = {
        path.relative_to(tree).as_posix()
        for path in (tree / "chanserv").rglob("*")
        if path.is_file()
    }
    assert "chanserv/py.typed" in files
    return files | {"twisted/plugins/chanserv_plugin.py"}


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(
    tree: Path, built: tuple[Path, Path]
) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == source_files(tree)


def test_the_sdist_holds_what_is_needed_to_build_test_and_document(
    tree: Path, built: tuple[Path, Path]
) -> None:
    with tarfile.open(built[0]) as sdist:
        names = {
            PurePosixPath(*PurePosixPath(name).parts[1:]).as_posix() for name in sdist.getnames()
        }
    assert source_files(tree) <= names
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.rst", "tox.ini"} <= names
    assert {"tests/conftest.py", "docs/conf.py"} <= names
    assert not [name for name in names if name.endswith("dropin.cache")]


def test_a_site_runs_from_the_wheel_in_a_new_environment(
    built: tuple[Path, Path], environment: Environment
) -> None:
    environment.pip("install", built[1])

    assert environment.lists_chanserv() == [True, True]
    assert "--settings" in run(
        environment.programs / "twistd", "chanserv", "--help", cwd=environment.folder
    )

    (environment.folder / "tiny_site.py").write_text(TINY_SITE)
    port = free_port()
    command = [
        str(environment.programs / "twistd"),
        *("--nodaemon", "--pidfile=", "chanserv", "--settings=tiny_site"),
        f"--listen=tcp:{port}:interface=127.0.0.1",
    ]
    with served(command, port=port, cwd=environment.folder, env={"PYTHONPATH": "."}) as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            assert answer.read() == b"served from a wheel"
        # Newer versions of twistd end by the signal that told them to.
        assert server.stop() in (0, -signal.SIGTERM), server.log()


def test_uninstalling_leaves_twisted_whole(
    built: tuple[Path, Path], environment: Environment
) -> None:
    environment.pip("install", built[1])
    assert environment.lists_chanserv() == [True, True]

    environment.pip("uninstall", "--yes", "chanserv")

    assert environment.lists_chanserv() == [False, False]


@pytest.mark.parametrize("how", [["install"], ["install", "--editable"]], ids=" ".join)
def test_the_tree_installs_and_uninstalls(
    how: list[str], tree: Path, environment: Environment
) -> None:
    environment.pip(*how, tree)
    assert environment.lists_chanserv() == [True, True]

    environment.pip("uninstall", "--yes", "chanserv")
    assert environment.lists_chanserv() == [False, False]
