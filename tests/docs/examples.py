"""The modules in C{docs/examples}, which stand in no package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def example(name: str) -> ModuleType:
    """The module C{docs/examples/NAME.py}."""
    found = importlib.util.spec_from_file_location(name, DOCS / "examples" / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
