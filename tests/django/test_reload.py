"""C{twistd chanserv --reload}: workers that are replaced when a file changes."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.django.test_runserver import (
    PATIENCE,
    ROOT,
    WebSocket,
    save,
    write_project,
)
from tests.end_to_end.split import Part, Split, split
from tests.processes import wait_until


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Split]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with split("ipc") as made:
        yield made


def page(server: Part) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=PATIENCE) as answer:
        return answer.read().decode()


def test_it_replaces_workers_once_the_code_has_changed_and_can_be_loaded(
    site: Split, tmp_path: Path
) -> None:
    project = write_project(tmp_path)
    words = project / "mysite" / "words.py"
    server = site.begin(
        "--settings=mysite.settings",
        f"--chdir={project}",
        "--workers=1",
        "--reload",
        "--listen=tcp:0:interface=127.0.0.1",
    )
    server.wait_until_ready()
    assert page(server) == "hello"
    client = WebSocket(server.port, "/chat/")

    save(words, "WORD = 'changed'\n")
    wait_until(lambda: page(server) == "changed", PATIENCE)
    wait_until(lambda: client.ask("word") == "changed", PATIENCE)

    save(words, "raise RuntimeError('half way through')\n")
    wait_until(lambda: "RuntimeError: half way through" in server.log(), PATIENCE)
    tries_again = "words.py, line 1). The next change of a file tries again"
    wait_until(lambda: tries_again in server.log(), PATIENCE)
    assert page(server) == "changed"

    save(words, "WORD = 'mended'\n")
    wait_until(lambda: page(server) == "mended", PATIENCE)
    wait_until(lambda: client.ask("word") == "mended", PATIENCE)
    client.close()
    server.stop()
    assert "Traceback" not in server.log()
