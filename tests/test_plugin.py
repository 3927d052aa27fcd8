"""The command as a user meets it: real C{twistd} and C{twist}, real ports, a real site."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.processes import STOP_SECONDS, Served, free_port, script, served, wait_until

ROOT = Path(__file__).resolve().parent.parent
TWISTD = ("twistd", "-n", "--pidfile=")
TWIST = ("twist", "--log-format=text")
BOTH = pytest.mark.parametrize("command", [TWISTD, TWIST], ids=["twistd", "twist"])

SETTINGS = """
    SECRET_KEY = "only for tests"
    ALLOWED_HOSTS = ["*"]
    ROOT_URLCONF = "mysite.urls"
    INSTALLED_APPS = ["chanserv.django"]
    USE_TZ = True
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "chanserv.layers.MemoryChannelLayer",
            "ROUTING": "mysite.consumers.routing",
        }
    }
"""
URLS = """
    import threading
    from django.http import HttpResponse
    from django.urls import path

    def hello(request):
        return HttpResponse(threading.current_thread().name)

    def fail(request):
        raise SystemExit("from a view")

    def hang(request):
        open("hangs", "w").close()
        threading.Event().wait()

    urlpatterns = [path("", hello), path("fail/", fail), path("hang/", hang)]
"""
CONSUMERS = """
    from chanserv.django import ConsumeLater, DenyConnection, route

    def connect(message):
        tries = message.content.get("__retries__", 0)
        if message["path"] == "/denied/":
            raise DenyConnection
        if message["path"] == "/later/" and tries < 3:
            raise ConsumeLater
        if message["path"] == "/broken/":
            raise ValueError("a broken consumer")
        message.reply_channel.send({"accept": True, "text": str(tries)})

    def disconnect(message):
        with open("disconnected", "a") as file:
            file.write(f"{message['path']} {message['code']}\\n")

    routing = [
        route("websocket.connect", connect),
        route("websocket.disconnect", disconnect),
    ]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The directory of a Django project, as C{startproject} would make it."""
    package = tmp_path / "project" / "mysite"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name, text in (("settings", SETTINGS), ("urls", URLS), ("consumers", CONSUMERS)):
        (package / f"{name}.py").write_text(textwrap.dedent(text))
    return package.parent


def environment() -> dict[str, str]:
    """Where the plugin is found: the tree, installed or not."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def run(command: tuple[str, ...], *options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that is expected to end by itself."""
    return subprocess.run(
        [script(command[0]), *command[1:], "chanserv", *options],
        cwd=cwd,
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
        timeout=60,
    )


def refusal(command: tuple[str, ...], *options: str, cwd: Path) -> str:
    """The one line that a wrong start ends with."""
    result = run(command, *options, cwd=cwd)
    output = result.stdout + result.stderr
    assert result.returncode == 1, output
    assert "Traceback" not in output
    (line,) = (line for line in output.splitlines() if "chanserv: " in line)
    return line[line.index("chanserv: ") :]


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A TCP port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def serving(command: tuple[str, ...], project: Path, *options: str, cwd: Path | None = None):
    """Serve the project's site until the block ends."""
    port = free_port()
    return served(
        [
            *command,
            "chanserv",
            "--settings=mysite.settings",
            f"--listen=tcp:{port}:interface=127.0.0.1",
            *options,
        ],
        port=port,
        cwd=cwd or project,
        env=environment(),
    )


def get(server: Served, path: str = "/") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def handshake(server: Served, path: str) -> bytes:
    """What comes back for a WebSocket handshake, up to the first frame's text."""
    with websocket(server) as client:
        return opened(client, path)


def websocket(server: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def opened(client: socket.socket, path: str) -> bytes:
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    received = b""
    while part := client.recv(65536):
        received += part
        head, end, rest = received.partition(b"\r\n\r\n")
        if end and (b" 101 " not in head or len(rest) >= 3):
            break
    return received


class TestPlugin:
    @pytest.mark.parametrize("program", ["twistd", "twist"])
    def test_it_is_listed(self, program: str, tmp_path: Path) -> None:
        result = subprocess.run(
            [script(program), "--help"],
            cwd=tmp_path,
            env={**os.environ, **environment()},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "chanserv" in result.stdout

    def test_listing_it_loads_neither_chanserv_nor_django_nor_a_reactor(
        self, tmp_path: Path
    ) -> None:
        program = (
            "import sys; from twisted.application.service import IServiceMaker;"
            "from twisted.plugin import getPlugins;"
            "print(any(one.tapname == 'chanserv' for one in getPlugins(IServiceMaker)));"
            "print(sorted({'chanserv', 'django', 'twisted.internet.reactor'} & set(sys.modules)))"
        )
        result = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, **environment()},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.stdout.splitlines() == ["True", "[]"]

    @BOTH
    def test_its_help_explains_the_options(self, command: tuple[str, ...], tmp_path: Path) -> None:
        result = run(command, "--help", cwd=tmp_path)
        assert result.returncode == 0
        assert "--settings=NAME" in result.stdout
        assert "Examples:" in result.stdout

    def test_it_tells_its_own_version(self, tmp_path: Path) -> None:
        assert run(TWISTD, "--version", cwd=tmp_path).stdout.startswith("chanserv ")


SITE = "--settings=mysite.settings"


@BOTH
class TestWrongStarts:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--threads=many", SITE], "--threads=many is not a whole number"),
            (["--no-listen"], "give --settings=mysite.settings"),
            ([], "without --settings nobody would answer"),
            (["--layer=carrier-pigeon:", SITE], "unknown channel layer 'carrier-pigeon:'"),
            (["--layer=other", SITE], "no channel layer 'other'"),
            (["--layer=mysite.urls:nothing", SITE], "mysite.urls has no nothing"),
            (["--listen=8000", SITE], "there is no endpoint type '8000'"),
            (["--listen=tcp:http", SITE], "'http' is not a number"),
            (["--listen=tcp:99999", SITE], "port must be 0-65535"),
            (["--listen=unix:/no/such/directory/socket", SITE], "no such file or directory"),
            (["--listen=tcp:0:interface=192.0.2.1", SITE], "cannot assign requested address"),
            (["--listen=ssl:0", SITE], "server.pem"),
            (["--access-log=/no/such/directory/log", SITE], "No such file or directory"),
            (["--chdir=/no/such/directory", SITE], "No such file or directory"),
            (["--pythonpath=/no/such/directory", SITE], "is no directory"),
        ],
    )
    def test_a_wrong_option_is_answered_by_one_line(
        self, command: tuple[str, ...], options: list[str], said: str, project: Path
    ) -> None:
        assert said in refusal(command, *options, cwd=project)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("import no_such_thing", "No module named 'no_such_thing'"),
            ("SECRET_KEY =", "SyntaxError"),
            ("1 / 0", "ZeroDivisionError"),
            ("INSTALLED_APPS = ['no_such_app']", "No module named 'no_such_app'"),
            ("SECRET_KEY = ''", "SECRET_KEY setting must not be empty"),
            ("ROOT_URLCONF = 'no_such_urls'", "No module named 'no_such_urls'"),
            ("CHANNEL_LAYERS = 3", "CHANNEL_LAYERS is 3"),
            ("CHANNEL_LAYERS = {'default': {'BACKEND': 'no.Layer'}}", "cannot import no"),
            ("CHANNEL_LAYERS = {'default': {'ROUTING': 'nowhere.routing'}}", "'nowhere.routing'"),
        ],
    )
    def test_settings_that_are_wrong_are_answered_by_one_line(
        self, command: tuple[str, ...], text: str, said: str, project: Path
    ) -> None:
        settings = project / "mysite" / "broken.py"
        settings.write_text(f"{textwrap.dedent(SETTINGS)}\n{text}\n")
        line = refusal(command, "--settings=mysite.broken", cwd=project)
        assert said in line

    def test_an_error_inside_the_settings_says_where(
        self, command: tuple[str, ...], project: Path
    ) -> None:
        (project / "mysite" / "broken.py").write_text("\nimport no_such_thing\n")
        line = refusal(command, "--settings=mysite.broken", cwd=project)
        assert "mysite/broken.py, line 2" in line

    def test_settings_that_do_not_exist_are_told_from_settings_that_fail(
        self, command: tuple[str, ...], project: Path
    ) -> None:
        line = refusal(command, "--settings=my_site.settings", cwd=project)
        assert "no settings 'my_site.settings'" in line

    def test_a_port_in_use_ends_the_whole_process(
        self, command: tuple[str, ...], project: Path, taken_port: int
    ) -> None:
        line = refusal(command, SITE, f"--listen=tcp:{taken_port}:interface=127.0.0.1", cwd=project)
        assert f"cannot listen on tcp:{taken_port}" in line
        assert "address already in use" in line

    def test_one_good_endpoint_does_not_hide_a_bad_one(
        self, command: tuple[str, ...], project: Path, taken_port: int
    ) -> None:
        line = refusal(
            command,
            SITE,
            "--listen=tcp:0:interface=127.0.0.1",
            f"--listen=tcp:{taken_port}:interface=127.0.0.1",
            cwd=project,
        )
        assert "address already in use" in line


class TestInTheBackground:
    def test_a_port_in_use_is_told_to_whoever_started_it(
        self, project: Path, taken_port: int
    ) -> None:
        result = run(
            ("twistd", "--pidfile=pid", "--logfile=log"),
            SITE,
            f"--listen=tcp:{taken_port}:interface=127.0.0.1",
            cwd=project,
        )
        assert result.returncode == 1
        assert "cannot listen" in result.stderr
        # Its parent ends first, and then the process itself.
        wait_until(lambda: "address already in use" in (project / "log").read_text())
        wait_until(lambda: not (project / "pid").exists())
        assert "Traceback" not in (project / "log").read_text()

    def test_it_serves_on_a_unix_socket_and_ends_when_told_to(self, project: Path) -> None:
        # Paths of Unix sockets are short, and pytest's are long.
        result = run(
            ("twistd", "--pidfile=pid", "--logfile=log"), SITE, "--listen=unix:s", cwd=project
        )
        assert result.returncode == 0, result.stderr
        pid = int((project / "pid").read_text())
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                here = Path.cwd()
                os.chdir(project)
                try:
                    client.connect("s")
                finally:
                    os.chdir(here)
                client.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        finally:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not (project / "pid").exists())
        assert "chanserv has stopped" in (project / "log").read_text()


class TestServing:
    @BOTH
    def test_it_says_what_it_serves_and_where_and_that_it_ends(
        self, command: tuple[str, ...], project: Path
    ) -> None:
        with serving(command, project) as server:
            assert get(server)[0] == 200
            (ready,) = (line for line in server.log().splitlines() if "is ready" in line)
            assert f"http://127.0.0.1:{server.port}/" in ready
            assert "mysite.settings with 4 threads" in ready
            assert "layer chanserv.layers.MemoryChannelLayer" in ready
            server.stop()
            assert "chanserv is stopping" in server.log()
            assert "chanserv has stopped" in server.log()

    def test_the_site_runs_in_the_teams_threads(self, project: Path) -> None:
        with serving(TWISTD, project, "--threads=2") as server:
            names = {get(server)[1] for _ in range(10)}
            assert names <= {"chanserv-1", "chanserv-2"}

    @pytest.mark.parametrize("option", ["--chdir=", "--pythonpath="])
    def test_the_site_is_found_from_elsewhere(
        self, option: str, project: Path, tmp_path: Path
    ) -> None:
        with serving(TWISTD, project, f"{option}{project}", cwd=tmp_path) as server:
            assert get(server)[0] == 200

    def test_it_listens_on_as_many_endpoints_as_are_given(self, project: Path) -> None:
        second = free_port()
        with serving(TWISTD, project, f"--listen=tcp:{second}:interface=127.0.0.1") as server:
            assert get(server)[0] == 200
            server.port = second
            assert get(server)[0] == 200

    def test_requests_are_logged_where_one_says(self, project: Path) -> None:
        with serving(TWISTD, project, "--access-log=access.log") as server:
            get(server, "/?a=b")
            server.stop()
        assert '"GET /?a=b HTTP/1.1" 200 ' in (project / "access.log").read_text()

    def test_a_log_of_requests_that_was_moved_away_is_opened_again(self, project: Path) -> None:
        log = project / "access.log"
        with serving(TWISTD, project, "--access-log=access.log") as server:
            get(server, "/?first")
            log.rename(project / "access.log.1")
            server.process.send_signal(signal.SIGUSR1)
            wait_until(log.exists)
            get(server, "/?second")
            server.stop()
        assert '"GET /?first HTTP/1.1" 200 ' in (project / "access.log.1").read_text()
        assert '"GET /?second HTTP/1.1" 200 ' in log.read_text()

    def test_a_view_that_raises_system_exit_is_answered_and_leaves_its_thread_alive(
        self, project: Path
    ) -> None:
        with serving(TWISTD, project, "--threads=1") as server:
            for _ in range(3):
                assert get(server, "/fail/")[0] == 500
            assert get(server)[0] == 200
            assert "SystemExit: from a view" in server.log()

    def test_consumers_accept_deny_put_off_and_fail(self, project: Path) -> None:
        with serving(TWISTD, project) as server:
            assert b" 101 " in handshake(server, "/")
            assert handshake(server, "/denied/").startswith(b"HTTP/1.1 403 ")
            assert handshake(server, "/later/").endswith(b"3")
            assert not handshake(server, "/broken/").startswith(b"HTTP/1.1 101 ")
            assert "ValueError: a broken consumer" in server.log()
            assert "mysite.consumers.connect" in server.log()

    def test_consumers_hear_of_the_sockets_that_a_stop_closes(self, project: Path) -> None:
        # These clients do not answer a close, so its time-out ends them.
        options = ["--threads=1", "--websocket-close-timeout=100ms"]
        with serving(TWISTD, project, *options) as server, ExitStack() as sockets:
            for number in range(30):
                client = sockets.enter_context(websocket(server))
                assert b" 101 " in opened(client, f"/{number}/")
            server.stop()
        lines = (project / "disconnected").read_text().split("\n")
        assert {line.split(" ")[0] for line in lines if line} == {f"/{n}/" for n in range(30)}

    @BOTH
    def test_a_view_that_hangs_does_not_keep_the_process_from_ending(
        self, command: tuple[str, ...], project: Path
    ) -> None:
        with serving(command, project, "--stop-timeout=200ms", "--drain-timeout=200ms") as server:
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(b"GET /hang/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert get(server)[0] == 200
                began = time.monotonic()
                server.stop()
            assert time.monotonic() - began < STOP_SECONDS
            assert "Stopping without" in server.log()
            assert "chanserv has stopped" in server.log()

    def test_while_it_stops_sigterm_changes_nothing_and_ctrl_c_ends_it(self, project: Path) -> None:
        with serving(
            TWISTD, project, "--stop-timeout=10m", "--drain-timeout=10m", "--threads=1"
        ) as server:
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(b"GET /hang/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
                wait_until(lambda: (project / "hangs").exists())
                server.process.send_signal(signal.SIGTERM)
                wait_until(lambda: "chanserv is stopping" in server.log())
                server.process.send_signal(signal.SIGTERM)
                server.process.send_signal(signal.SIGINT)
                assert server.process.wait(STOP_SECONDS) == 128 + signal.SIGINT
            assert "Traceback" not in server.log()
            assert "ended before it had stopped" in server.log()
