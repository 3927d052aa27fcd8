"""C{manage.py runworker}, as a real process behind a real interface server."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.django.test_runserver import PATIENCE, ROOT, URLS, WebSocket, write_project
from tests.end_to_end.split import Part, Split, split
from tests.processes import launched, wait_until

HOLDS = """
import pathlib, time
from django.http import HttpResponse

def hold(request):
    pathlib.Path("begun").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.02)
    return HttpResponse("held")

urlpatterns += [path("hold/", hold)]
"""


@pytest.fixture
def site() -> Iterator[Split]:
    with split("ipc") as made:
        yield made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path)
    (tmp_path / "mysite" / "urls.py").write_text(URLS + HOLDS)
    return tmp_path


class Workers:
    """C{manage.py runworker} processes of one project."""

    def __init__(self, site: Split, project: Path, stack: ExitStack) -> None:
        self.site = site
        self.project = project
        self.stack = stack

    def begin(self, *options: str) -> Part:
        number = len(self.site.parts)
        output = self.stack.enter_context((self.project / f"worker-{number}.log").open("wb"))
        process = launched(
            [sys.executable, "manage.py", "runworker", f"--layer={self.site.layer}", *options],
            output=output,
            cwd=self.project,
            env={"PYTHONPATH": str(ROOT), **self.site.environment},
            own_group=True,
        )
        part = Part(process, output)
        self.site.parts.append(part)
        return part


@pytest.fixture
def workers(site: Split, project: Path) -> Iterator[Workers]:
    with ExitStack() as stack:
        yield Workers(site, project, stack)


def run_to_its_end(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "runworker", *options],
        cwd=project,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def get(port: int, path: str) -> bytes:
    """All of the answer to a request, head and body."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return stream.makefile("rb").read()


def test_workers_share_the_site_by_channels_and_name_what_they_run(
    site: Split, workers: Workers
) -> None:
    web = workers.begin("-v", "2", "--only-channels=http.*", "--threads=2")
    rest = workers.begin("--verbosity=2", "--exclude-channels=http.*")
    port = site.interface().port
    web.wait_until_ready()
    rest.wait_until_ready()
    assert "mysite.settings with 2 threads" in web.log()

    for path, answer in (("/", b"hello"), ("/static/site.css", b"#123")):
        assert answer in get(port, path)
    client = WebSocket(port, "/chat/")
    assert client.ask("one") == "ONE"
    client.close()

    wait_until(lambda: "websocket.receive: " in rest.log(), PATIENCE)
    wait_until(lambda: web.log().count("http.request: ") == 2, PATIENCE)
    assert "http." not in rest.log().partition(" is ready")[2]
    assert "websocket." not in web.log().partition(" is ready")[2]
    assert re.search(
        r"\] websocket\.receive: mysite\.routing\.echo, [\d.]+ ms, for \S+!\S+\n", rest.log()
    )


def test_it_supervises_worker_processes_and_replaces_them(site: Split, workers: Workers) -> None:
    worker = workers.begin("--workers=1", "--release=seven", "-v2")
    port = site.interface().port
    worker.wait_until_ready()
    assert "1 worker process of 4 threads" in worker.log()
    assert b"hello" in get(port, "/")
    (workers.project / "mysite" / "words.py").write_text("WORD = 'another word'\n")
    worker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "have taken over: SIGHUP" in worker.log(), PATIENCE)
    wait_until(lambda: b"another word" in get(port, "/"), PATIENCE)
    wait_until(lambda: "] [worker 1] http.request: " in worker.log(), PATIENCE)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(PATIENCE) == 0


def test_control_c_waits_for_what_runs(site: Split, workers: Workers) -> None:
    worker = workers.begin()
    port = site.interface().port
    worker.wait_until_ready()
    got: list[bytes] = []
    asking = threading.Thread(target=lambda: got.append(get(port, "/hold/")))
    asking.start()
    wait_until((workers.project / "begun").exists, PATIENCE)
    worker.process.send_signal(signal.SIGINT)
    wait_until(lambda: "chanserv is stopping" in worker.log(), PATIENCE)
    (workers.project / "go").touch()
    asking.join(PATIENCE)
    assert got
    assert got[0].endswith(b"held")
    assert worker.process.wait(PATIENCE) == 0
    assert "Traceback" not in worker.log()


def test_memory_is_refused_with_the_way_out(project: Path) -> None:
    ended = run_to_its_end(project)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("CommandError: the channel layer 'default' is in memory")
    assert "--layer=ipc:mysite" in line
    assert "manage.py runserver" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layer=nowhere"], "CommandError: there is no channel layer 'nowhere'"),
        (["--layer=ipc:x", "--only-channels=htp.*"], "--only-channels=htp.* matches none of"),
        (["--layer=ipc:x", "--threads=0"], "'0' is not a whole number from 1 up"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(project: Path, options: list[str], said: str) -> None:
    ended = run_to_its_end(project, *options)
    assert ended.returncode != 0
    assert said in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
