"""The order of the rooms: who may import whom, read from the source of every module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "chanserv"

ROWS: tuple[tuple[str, ...], ...] = (
    ("errors", "names", "formats", "messages"),
    ("codec", "sockets"),
    ("interfaces",),
    ("core",),
    ("layers",),
    ("layers.from_spec", "layers.blocking"),
    ("server", "worker"),
    ("supervision", "ops"),
    ("django",),
    ("site",),
    ("running", "service"),
    ("options",),
    ("tap", "__main__"),
)
"""A room imports only rooms of the rows above its own.  Rooms of one row keep
apart, save for the exceptions below."""

TOGETHER: tuple[frozenset[str], ...] = (
    frozenset({"errors", "names", "formats", "messages"}),
    frozenset({"layers.from_spec", "layers.blocking"}),
    frozenset({"running", "service"}),
)
"""Neighbours in a row that do know each other."""

NEVER = frozenset({("django", "server"), ("django", "service"), ("django", "tap")})
"""(room, room) pairs that stay apart whatever their rows: a site's code runs on
workers, where there is no interface server."""

TESTING_MAY_IMPORT_ALL = "testing"

ALLOWED: dict[tuple[str, str], str] = {
    ("chanserv.layers", "layers.from_spec"): "the package is the front door of its modules",
    ("chanserv.layers", "layers.blocking"): "the package is the front door of its modules",
    ("chanserv.django.development", "server"): (
        "behind runserver stands a whole server in one process"
    ),
    ("chanserv.django.development", "service"): (
        "behind runserver stands a whole server in one process"
    ),
    ("chanserv.django.development", "running"): "so does a supervisor of its workers",
    ("chanserv.django.development_worker", "running"): "it is a worker process of runserver",
    ("chanserv.django.development_worker", "site"): "it is a worker process of runserver",
    ("chanserv.django.management.commands.runworker", "service"): (
        "it is what twistd chanserv --no-listen is"
    ),
    ("chanserv.django.management.commands.runworker", "running"): (
        "it is what twistd chanserv --no-listen is"
    ),
}
"""(module, room) pairs that break the order, and why they may."""

TYPES_ONLY: dict[tuple[str, str], str] = {
    ("chanserv.interfaces", "worker"): "IApplication is given the worker's Outbox",
}
"""The same for imports that stand under TYPE_CHECKING, and run never."""


@dataclass(frozen=True)
class Import:
    """One import statement of one module."""

    module: str
    target: str
    line: int
    at_module_level: bool
    types_only: bool

    @property
    def room(self) -> str | None:
        """The room of chanserv that it reaches into; None for other packages."""
        return room_of(self.target) if self.target.split(".")[0] == "chanserv" else None

    def __str__(self) -> str:
        return f"{self.module}, line {self.line}, imports {self.target}"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room a dotted name stands in; empty for the package itself."""
    parts = module.split(".")[1:3]
    named_apart = {room for row in ROWS for room in row}
    for depth in (2, 1):
        room = ".".join(parts[:depth])
        if room in named_apart:
            return room
    return parts[0] if parts else ""


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a module, those in functions and under conditions too."""
    module = module_name(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def targets(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            return
        base = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, base] if base else above)
        # A name of a package may be one of its modules.
        yield from (f"{base}.{alias.name}" for alias in node.names)

    def walk(node: ast.AST, module_level: bool, types_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                for target in targets(child):
                    yield Import(module, target, child.lineno, module_level, types_only)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for part in child.body:
                    yield from walk(ast.Module([part], []), module_level, True)
                for part in child.orelse:
                    yield from walk(ast.Module([part], []), module_level, types_only)
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, module_level and not inside, types_only)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), True, False)


IMPORTS = [found for path in sorted(PACKAGE.rglob("*.py")) for found in imports_of(path)]


def row_of(room: str) -> int:
    for number, row in enumerate(ROWS):
        if room in row:
            return number
    raise AssertionError(
        f"chanserv/{room} is in no row: give it its place in the order of the rooms"
    )


def may_import(found: Import) -> bool:
    """Whether the order of the rooms allows an import of our own package."""
    room, reached = room_of(found.module), found.room
    assert reached is not None
    if reached in ("", room, "__version__") or room == "":
        return True
    if room == TESTING_MAY_IMPORT_ALL:
        return True
    if reached == TESTING_MAY_IMPORT_ALL:
        return False
    if (found.module, reached) in ALLOWED:
        return True
    if found.types_only and (found.module, reached) in TYPES_ONLY:
        return True
    if (room, reached) in NEVER:
        return False
    if row_of(reached) == row_of(room):
        return any({room, reached} <= neighbours for neighbours in TOGETHER)
    return row_of(reached) < row_of(room)


def test_every_module_imports_only_rooms_above_its_own() -> None:
    ours = [found for found in IMPORTS if found.room is not None]
    assert ours
    assert [str(found) for found in ours if not may_import(found)] == []


def test_every_module_stands_in_a_room_of_the_order() -> None:
    for path in PACKAGE.rglob("*.py"):
        room = room_of(module_name(path))
        if room not in ("", TESTING_MAY_IMPORT_ALL):
            row_of(room)


def test_only_the_django_room_imports_django() -> None:
    strangers = [
        str(found)
        for found in IMPORTS
        if found.target.split(".")[0] == "django"
        and room_of(found.module) not in ("django", TESTING_MAY_IMPORT_ALL)
    ]
    assert strangers == []


def test_service_reaches_the_django_room_only_when_it_is_needed() -> None:
    early = [
        str(found)
        for found in IMPORTS
        if found.room == "django" and room_of(found.module) != "django"
        if found.at_module_level and not found.types_only
        if room_of(found.module) != TESTING_MAY_IMPORT_ALL
    ]
    assert early == []


def test_the_development_server_is_reached_through_runserver_alone() -> None:
    users = {
        found.module
        for found in IMPORTS
        if found.target.startswith("chanserv.django.development") and not found.types_only
    }
    assert users == {"chanserv.django.management.commands.runserver"}


def test_nothing_imports_the_reactor_with_its_module() -> None:
    # Django commands are the outermost edge of a process, but they too import
    # it where they run.
    early = [
        str(found)
        for found in IMPORTS
        if found.target.startswith("twisted.internet.reactor") and found.at_module_level
    ]
    assert early == []


def test_the_plugin_imports_nothing_of_ours() -> None:
    plugin = PACKAGE.parent / "twisted" / "plugins" / "chanserv_plugin.py"
    targets = [
        node.module
        for node in ast.walk(ast.parse(plugin.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    ]
    assert targets == ["twisted.application.service"]


@pytest.mark.parametrize(
    ("module", "target", "types_only", "allowed"),
    [
        ("chanserv.core.mailbox", "chanserv.names.mailbox_of", False, True),
        ("chanserv.core.mailbox", "chanserv.layers.memory", False, False),
        ("chanserv.names", "chanserv.errors.InvalidChannelName", False, True),
        ("chanserv.layers", "chanserv.layers.memory.MemoryChannelLayer", False, True),
        ("chanserv.layers.memory", "chanserv.layers.blocking.face_of", False, False),
        ("chanserv.layers.blocking", "chanserv.layers.memory", False, True),
        ("chanserv.server.http", "chanserv.worker.team", False, False),
        ("chanserv.worker.team", "chanserv.server.http", False, False),
        ("chanserv.django.request", "chanserv.server.http", False, False),
        ("chanserv.django.request", "chanserv.worker.outbox", False, True),
        ("chanserv.service", "chanserv.django.application", False, True),
        ("chanserv.interfaces", "chanserv.worker.outbox", True, True),
        ("chanserv.interfaces", "chanserv.worker.outbox", False, False),
        ("chanserv.server.http", "chanserv.testing.fakes", False, False),
        ("chanserv.django.development", "chanserv.server.InterfaceServer", False, True),
        ("chanserv.django.management.commands.runworker", "chanserv.server", False, False),
    ],
)
def test_the_order_itself_says_yes_and_no(
    module: str, target: str, types_only: bool, allowed: bool
) -> None:
    found = Import(module, target, 1, at_module_level=True, types_only=types_only)
    assert may_import(found) is allowed
