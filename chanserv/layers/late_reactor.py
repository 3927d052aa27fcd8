"""
Importing a library that takes the global reactor as it is imported.

C{from twisted.internet import reactor} I{installs} a reactor, for good: a
program that imports such a library early can no longer choose another, and
one that runs no reactor has made one for nothing.  L{import_with_late_reactor}
imports it so that it gets a stand-in, which looks the reactor up when it is
first used.  Nothing else in the process sees the stand-in.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType, SimpleNamespace
from typing import Any, Final

_REACTOR: Final = "twisted.internet.reactor"


def import_with_late_reactor(name: str) -> ModuleType:
    """
    Import a module whose own C{from twisted.internet import reactor} must not
    install one.

    Any thread may call this.  Where the process has its reactor already, or
    the module is already imported, it is a plain import.

    @param name: the name of a top-level module, such as C{txredisapi}.
    @raise ImportError: as a plain import would.
    """
    if name in sys.modules or _REACTOR in sys.modules:
        return import_module(name)
    finder = _Finder(name)
    # The ordinary import does the rest, with its locks: a thread that imports
    # the module meanwhile gets the same one, whole.
    sys.meta_path.insert(0, finder)
    try:
        return import_module(name)
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Finds one module where it always was, and puts our loader before its own."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Runs a module's code with an C{import} statement of its own."""

    def __init__(self, original: Loader) -> None:
        self._original = original

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._original.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The import statement calls the __import__ of its module's builtins.
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
        self._original.exec_module(module)

    def __getattr__(self, name: str) -> Any:
        # For get_source() and its like, which tracebacks ask for.
        return getattr(self._original, name)


def _import(
    name: str,
    globals: Any = None,  # the names that __import__ has
    locals: Any = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    """C{__import__}, but for C{from twisted.internet import reactor}."""
    if name == "twisted.internet" and level == 0 and fromlist and "reactor" in fromlist:
        others = [wanted for wanted in fromlist if wanted != "reactor"]
        package = builtins.__import__(name, globals, locals, others, level) if others else None
        found = {wanted: getattr(package, wanted) for wanted in others}
        return SimpleNamespace(reactor=LATE_REACTOR, **found)
    return builtins.__import__(name, globals, locals, fromlist, level)


class LateReactor:
    """The global reactor, looked up at each use and not before."""

    def callLater(self, *args: Any, **kwargs: Any) -> Any:
        """As on the reactor: what a class takes from it as it is defined."""
        return _reactor().callLater(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(_reactor(), name)


def _reactor() -> Any:
    from twisted.internet import reactor

    return reactor


LATE_REACTOR: Final = LateReactor()
