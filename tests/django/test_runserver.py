"""C{manage.py runserver}, as a real process with a site of its own."""

from __future__ import annotations

import http.client
import os
import pty
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import django
import pytest

from tests.end_to_end.garbage import frame
from tests.processes import free_port, launched, wait_until

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds: far more than anything here takes, for a busy machine."""

MANAGE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
SETTINGS = """
from pathlib import Path
DEBUG = True
SECRET_KEY = "only for tests"
ROOT_URLCONF = "mysite.urls"
INSTALLED_APPS = ["chanserv.django", "django.contrib.staticfiles"]
STATIC_URL = "/static/"
STATICFILES_DIRS = [Path(__file__).parent / "static"]
USE_TZ = True
CHANNEL_LAYERS = {"default": {"ROUTING": "mysite.routing.channel_routing"}}
"""
URLS = """
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from mysite.words import WORD

def hello(request):
    return HttpResponse(WORD)

def breaks(request):
    def parts():
        yield b"part"
        raise RuntimeError("the stream broke")
    return StreamingHttpResponse(parts())

urlpatterns = [path("", hello), path("breaks/", breaks)]
"""
ROUTING = """
from chanserv.django import route
from mysite.words import WORD

def echo(message):
    text = message["text"]
    message.reply_channel.send({"text": WORD if text == "word" else text.upper()})

def fail(message):
    raise RuntimeError("the consumer broke")

channel_routing = [
    route("websocket.connect", fail, path="^/fails/"),
    route("websocket.receive", echo),
]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Django project of its own."""
    return write_project(tmp_path_factory.mktemp("project"))


def write_project(where: Path, settings: str = SETTINGS) -> Path:
    site = where / "mysite"
    (site / "static").mkdir(parents=True)
    (where / "manage.py").write_text(MANAGE)
    (site / "__init__.py").touch()
    (site / "settings.py").write_text(settings)
    (site / "urls.py").write_text(URLS)
    (site / "routing.py").write_text(ROUTING)
    (site / "words.py").write_text('WORD = "hello"\n')
    (site / "static" / "site.css").write_text("body { color: #123; }\n")
    return where


class Runserver:
    """A running C{manage.py runserver}."""

    def __init__(
        self,
        project: Path,
        port: int,
        *options: str,
        host: str = "127.0.0.1",
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.port = port
        self.host = host
        self._output = project / f"output-{port}.log"
        addrport = f"{'[::1]' if ':' in host else host}:{port}"
        with self._output.open("wb") as output:
            self.process = launched(
                [sys.executable, "manage.py", "runserver", addrport, *options],
                output=output,
                cwd=project,
                env={"PYTHONPATH": str(ROOT)},
                own_group=True,
                stdin=stdin,
            )

    @property
    def log(self) -> str:
        return self._output.read_text()

    def url(self, path: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{path}"

    def get(self, path: str = "/") -> tuple[int, str]:
        """The status and the body of a page."""
        try:
            with urllib.request.urlopen(self.url(path), timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        def so() -> bool:
            try:
                if condition():
                    return True
            except OSError:
                pass
            assert self.process.poll() is None, "it has ended"
            return False

        try:
            wait_until(so, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"not so: {what}: {error}; its output:\n{self.log}") from None

    def wait_until_it_serves(self) -> None:
        self.wait_until(lambda: self.get()[0] == 200, "it serves")

    def press_control_c(self) -> int:
        """Interrupt it and what it has started, as a terminal does; the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(PATIENCE)

    def has_processes(self) -> bool:
        """Whether it, or any that it has started, still runs."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def end(self) -> None:
        """Leave nothing behind, where it can be had in order."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(PATIENCE)


@contextmanager
def running(
    project: Path, *options: str, host: str = "127.0.0.1", port: int | None = None
) -> Iterator[Runserver]:
    server = Runserver(project, port or free_port(), *options, host=host)
    try:
        yield server
    finally:
        server.end()


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[Runserver]:
    """One that serves, for tests that change nothing."""
    with running(project, "--noreload") as runserver:
        runserver.wait_until_it_serves()
        yield runserver


class WebSocket:
    """A client of one WebSocket, for short texts."""

    def __init__(self, port: int, path: str) -> None:
        self.stream = socket.create_connection(("127.0.0.1", port))
        self.stream.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.file = self.stream.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        while self.file.readline() != b"\r\n":
            pass
        self.texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.reading = threading.Thread(target=self._read, daemon=True)
        self.reading.start()

    def _read(self) -> None:
        """Read all that comes, and answer pings: tests may leave a client alone for long."""
        try:
            while head := self.file.read(2):
                opcode, payload = head[0] & 15, self.file.read(head[1])
                if opcode == 1:
                    self.texts.put(payload.decode())
                elif opcode in (8, 9):
                    self.stream.sendall(frame(10 if opcode == 9 else 8, payload))
        except (OSError, ValueError):
            pass
        self.texts.put(None)

    def ask(self, text: str) -> str:
        self.stream.sendall(frame(1, text.encode()))
        answer = self.texts.get(timeout=PATIENCE)
        assert answer is not None, "the socket has been closed"
        return answer

    def close(self) -> None:
        try:
            self.stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.reading.join(PATIENCE)
        self.file.close()
        self.stream.close()


def test_it_prints_what_djangos_own_prints(server: Runserver) -> None:
    for words in (
        "Performing system checks...",
        "System check identified no issues (0 silenced).",
        f"Django version {django.get_version()}, using settings",
        "using settings 'mysite.settings'",
        f"Starting development server at http://127.0.0.1:{server.port}/",
        "Quit the server with CONTROL-C.",
        "4 worker threads, channel layer 'default' (chanserv.layers.MemoryChannelLayer)",
    ):
        assert words in server.log


def test_it_serves_pages_and_logs_them_as_django_does(server: Runserver) -> None:
    assert server.get("/") == (200, "hello")
    assert server.get("/nowhere/")[0] == 404
    stamp = r"\[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\]"
    server.wait_until(lambda: "nowhere/ HTTP" in server.log, "the page is logged")
    assert re.search(stamp + r' "GET / HTTP/1\.1" 200 5\n', server.log)
    assert re.search(stamp + r' "GET /nowhere/ HTTP/1\.1" 404 \d+\n', server.log)


def test_it_serves_static_files(server: Runserver) -> None:
    assert server.get("/static/site.css") == (200, "body { color: #123; }\n")


def test_it_serves_websockets(server: Runserver) -> None:
    client = WebSocket(server.port, "/chat/")
    try:
        assert client.status == 101
        assert [client.ask("one"), client.ask("two")] == ["ONE", "TWO"]
    finally:
        client.close()
    server.wait_until(lambda: "WEBSOCKET /chat/" in server.log, "its end is logged")


def test_it_shows_the_traceback_of_a_consumer(server: Runserver) -> None:
    client = WebSocket(server.port, "/fails/")
    client.close()
    assert client.status != 101
    server.wait_until(lambda: "RuntimeError: the consumer broke" in server.log, "it is shown")
    assert "mysite.routing.fail failed on a message from channel 'websocket.connect'" in server.log


def test_a_client_can_tell_that_a_stream_broke(server: Runserver) -> None:
    with pytest.raises((OSError, http.client.HTTPException)) as caught:
        server.get("/breaks/")
    assert not isinstance(caught.value, TimeoutError)
    server.wait_until(lambda: "RuntimeError: the stream broke" in server.log, "it is shown")


def test_control_c_ends_it_cleanly(project: Path) -> None:
    with running(project, "--noreload") as server:
        server.wait_until_it_serves()
        client = WebSocket(server.port, "/chat/")
        assert client.ask("one") == "ONE"
        assert server.press_control_c() == 0
        client.close()
        assert "Traceback" not in server.log


def save(file: Path, text: str) -> None:
    """
    Write a file so that a reloader sees it, which compares times that may be coarse;
    and sees it once, and whole.
    """
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    later = time.time() + 2
    os.utime(draft, (later, later))
    draft.replace(file)


def test_a_changed_file_reloads_the_site(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    with running(project) as server:
        server.wait_until_it_serves()
        assert "Watching for file changes with StatReloader" in server.log
        client = WebSocket(server.port, "/chat/")
        assert [client.ask("one"), client.ask("word")] == ["ONE", "hello"]
        save(project / "mysite" / "words.py", 'WORD = "changed"\n')
        server.wait_until(lambda: server.get() == (200, "changed"), "it has reloaded")
        server.wait_until(lambda: client.ask("word") == "changed", "the old one takes no more")
        assert "words.py changed, reloading." in server.log
        assert server.log.count("Starting development server at") == 1
        assert server.log.count("System check identified no issues") >= 2
        assert server.press_control_c() == 0
        client.close()
        assert "Traceback" not in server.log
        wait_until(lambda: not server.has_processes(), PATIENCE)


def test_code_that_cannot_be_loaded_leaves_the_old_at_work_until_it_is_mended(
    tmp_path: Path,
) -> None:
    project = write_project(tmp_path)
    site = project / "mysite"
    with running(project) as server:
        server.wait_until_it_serves()
        client = WebSocket(server.port, "/chat/")
        (site / "mended.py").write_text("WORD = = 'mended'\n")
        save(site / "urls.py", URLS.replace("mysite.words", "mysite.mended"))
        goes_on = "until then the code from before goes on"
        server.wait_until(lambda: goes_on in server.log, "it says what serves meanwhile")
        assert "SyntaxError: invalid syntax" in server.log
        assert server.get() == (200, "hello")
        assert client.ask("word") == "hello"
        save(site / "mended.py", "WORD = 'mended'\n")
        server.wait_until(lambda: server.get() == (200, "mended"), "it has reloaded")
        assert client.ask("still here") == "STILL HERE"
        client.close()


DEBUGS = """
def debugged(request):
    found = 41
    breakpoint()
    return HttpResponse(str(found))

urlpatterns.append(path("debug/", debugged))
"""


def test_a_debugger_in_a_view_speaks_with_whoever_sits_at_the_terminal(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    (project / "mysite" / "urls.py").write_text(URLS + DEBUGS)
    ours, theirs = pty.openpty()
    server = Runserver(project, free_port(), stdin=theirs)
    try:
        server.wait_until_it_serves()
        answers: list[tuple[int, str]] = []
        asking = threading.Thread(target=lambda: answers.append(server.get("/debug/")))
        asking.start()
        server.wait_until(lambda: "-> return HttpResponse(str(found))" in server.log, "it stops")
        os.write(ours, b"found += 1\ncontinue\n")
        asking.join(PATIENCE)
        assert answers == [(200, "42")]
    finally:
        server.end()
        os.close(ours)
        os.close(theirs)


def test_processes_share_the_layer_of_the_site_where_they_can(tmp_path: Path) -> None:
    layer = (
        '{"BACKEND": "chanserv.layers.IPCChannelLayer", '
        f'"CONFIG": {{"prefix": "x", "directory": {str(tmp_path / "d")!r}}}, "ROUTING"'
    )
    project = write_project(tmp_path, SETTINGS.replace('{"ROUTING"', layer))
    with running(project) as server:
        server.wait_until_it_serves()
        said = "4 worker threads in a process of their own, channel layer 'default' ("
        server.wait_until(lambda: said in server.log, "it says so")
        assert (tmp_path / "d" / "x.sock").exists()


def test_a_mistake_in_the_routing_is_told_and_mended_by_a_change(tmp_path: Path) -> None:
    project = write_project(tmp_path, SETTINGS.replace("mysite.routing.", "mysite.routng."))
    with running(project) as server:
        tries_again = "The next change of a file tries again.\n"
        server.wait_until(lambda: tries_again in server.log, "it waits for a change")
        assert "(chanserv.E002)" in server.log
        assert "names 'mysite.routng.channel_routing', and there is no module" in server.log
        save(project / "mysite" / "settings.py", SETTINGS)
        server.wait_until_it_serves()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_it_ends_in_order_with_its_terminal_too(project: Path, number: int) -> None:
    with running(project) as server:
        server.wait_until_it_serves()
        os.kill(server.process.pid, number)
        assert server.process.wait(PATIENCE) == 0
        wait_until(lambda: not server.has_processes(), PATIENCE)
        assert "Traceback" not in server.log


def test_a_port_in_use_is_told_as_django_tells_it(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running(project, "--noreload", port=port) as server:
            assert server.process.wait(PATIENCE) == 1
            assert "Error: That port is already in use.\n" in server.log
            assert "Traceback" not in server.log


def test_noworker_with_memory_says_that_nobody_would_answer(project: Path) -> None:
    with running(project, "--noworker") as server:
        assert server.process.wait(PATIENCE) == 1
        (line,) = server.log.splitlines()
        assert line.startswith("CommandError: --noworker leaves nobody to answer: ")


def test_a_wrong_layer_is_one_line(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    wrong = SETTINGS.replace('"ROUTING"', '"BACKEND": "chanserv.layers.None_", "ROUTING"')
    (project / "mysite" / "settings.py").write_text(wrong)
    with running(project, "--noreload") as server:
        assert server.process.wait(PATIENCE) == 1
        assert "Error: BACKEND 'chanserv.layers.None_'" in server.log
        assert "Traceback" not in server.log


def test_noasgi_is_djangos_own_server(project: Path) -> None:
    with running(project, "--noreload", "--noasgi") as server:
        server.wait_until_it_serves()
        assert server.get("/static/site.css")[0] == 200
        with urllib.request.urlopen(server.url("/"), timeout=PATIENCE) as answer:
            assert answer.headers["Server"].startswith("WSGIServer/")


@pytest.mark.parametrize(
    ("option", "words"),
    [("--nothreading", "1 worker thread,"), ("--threads=7", "7 worker threads,")],
)
def test_the_number_of_threads_is_told(project: Path, option: str, words: str) -> None:
    with running(project, "--noreload", "--nostatic", option) as server:
        server.wait_until_it_serves()
        assert words in server.log
        assert server.get("/static/site.css")[0] == 404


def test_a_wrong_number_of_threads_is_refused(project: Path) -> None:
    with running(project, "--threads=0") as server:
        assert server.process.wait(PATIENCE) != 0
        assert "'0' is not a whole number from 1 up" in server.log


def test_it_serves_on_ipv6(project: Path) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 address here")
    with running(project, "--noreload", host="::1") as server:
        server.wait_until_it_serves()
        assert f"http://[::1]:{server.port}/" in server.log
