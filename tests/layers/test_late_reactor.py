from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chanserv.layers.late_reactor import LATE_REACTOR, import_with_late_reactor

GREEDY = """
from twisted.internet import defer, reactor
class Protocol:
    callLater = reactor.callLater
"""
"""A library as some are: it takes the global reactor as it is imported."""


def run(folder: Path, program: str) -> str:
    """What a fresh Python prints, for which C{greedy} can be imported."""
    (folder / "greedy.py").write_text(GREEDY)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_library_that_takes_the_reactor_installs_none(tmp_path: Path) -> None:
    printed = run(
        tmp_path,
        "import sys\n"
        "from chanserv.layers.late_reactor import import_with_late_reactor\n"
        "greedy = import_with_late_reactor('greedy')\n"
        "import greedy as again\n"
        "assert again is greedy and greedy.defer.Deferred\n"
        "print('twisted.internet.reactor' in sys.modules)",
    )
    assert printed == "False"


def test_another_reactor_can_be_installed_after_it_and_is_the_one_it_uses(tmp_path: Path) -> None:
    printed = run(
        tmp_path,
        "from chanserv.layers.late_reactor import import_with_late_reactor\n"
        "greedy = import_with_late_reactor('greedy')\n"
        "from twisted.internet import selectreactor\n"
        "selectreactor.install()\n"
        "greedy.reactor.callLater(0, print, type(greedy.reactor.resolver).__name__)\n"
        "greedy.Protocol.callLater(0.01, greedy.reactor.stop)\n"
        "from twisted.internet import reactor\n"
        "print(type(reactor).__name__)\n"
        "reactor.run()\n",
    )
    assert printed.splitlines()[0] == "SelectReactor"
    assert len(printed.splitlines()) == 2


def test_other_modules_get_the_real_reactor_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("from twisted.internet import reactor")
    (tmp_path / "mixed.py").write_text("import plain\nfrom twisted.internet import reactor")
    printed = run(
        tmp_path,
        "from chanserv.layers.late_reactor import LATE_REACTOR, import_with_late_reactor\n"
        "mixed = import_with_late_reactor('mixed')\n"
        "print(mixed.reactor is LATE_REACTOR, mixed.plain.reactor is LATE_REACTOR)",
    )
    assert printed == "True False"


def test_a_process_that_has_its_reactor_imports_as_ever(tmp_path: Path) -> None:
    printed = run(
        tmp_path,
        "from twisted.internet import reactor\n"
        "from chanserv.layers.late_reactor import import_with_late_reactor\n"
        "print(import_with_late_reactor('greedy').reactor is reactor)",
    )
    assert printed == "True"


def test_txredisapi_installs_no_reactor(tmp_path: Path) -> None:
    printed = run(
        tmp_path,
        "import sys\n"
        "from chanserv.layers.late_reactor import import_with_late_reactor\n"
        "import_with_late_reactor('txredisapi').RedisProtocol\n"
        "print('twisted.internet.reactor' in sys.modules)",
    )
    assert printed == "False"


def test_a_module_that_is_not_there_is_an_import_error() -> None:
    finders = list(sys.meta_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        import_with_late_reactor("no_such_module")
    assert sys.meta_path == finders


def test_the_stand_in_is_the_reactor_to_who_uses_it() -> None:
    from twisted.internet import reactor

    assert LATE_REACTOR.running == reactor.running  # type: ignore[attr-defined]
    LATE_REACTOR.callLater(60, lambda: None).cancel()
