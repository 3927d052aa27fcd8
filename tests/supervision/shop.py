"""
A small site in releases, as one deploys it: each a folder of its own, and a link to
the newest; and C{twistd chanserv} that runs it.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.request import urlopen

from tests.processes import launched, wait_until

PATIENCE = 90.0
"""Seconds that a test waits for what must come, on a machine however busy."""

SETTINGS = """\
SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["chanserv.django"]
MIDDLEWARE = []
USE_TZ = True
CHANNEL_LAYERS = {"default": {"BACKEND": "chanserv.layers.IPCChannelLayer", "CONFIG": %r}}
"""

URLS = '''\
import os
import time
from pathlib import Path

from django.http import HttpResponse
from django.urls import path

VERSION = %r
FOLDER = Path(os.environ["CHANSERV_TEST_FOLDER"])


def note(name, text):
    with open(FOLDER / name, "a") as file:
        file.write(f"{text}\\n")


note("loaded", os.getpid())


def version(request):
    return HttpResponse(VERSION)


def run(request, number):
    note("ran", number)
    time.sleep(0.02)
    return HttpResponse(str(number))


def hold(request, name):
    """Answers when there is a file of that name."""
    note("held", name)
    print("a line of the view")
    while not (FOLDER / name).exists():
        time.sleep(0.02)
    print("another line")
    note("let go", name)
    return HttpResponse("let go")


urlpatterns = [
    path("version/", version),
    path("run/<int:number>/", run),
    path("hold/<str:name>/", hold),
]
'''


@dataclass
class Shop:
    """The site, its releases, and all that runs it."""

    folder: Path
    layer: str = field(default_factory=lambda: secrets.token_hex(4))
    releases: int = 0
    output: IO[bytes] | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def current(self) -> Path:
        """The link to the newest release."""
        return self.folder / "current"

    def release(self, version: str, urls: str = URLS) -> None:
        """Put a new release beside the others, and make it the current one."""
        self.releases += 1
        package = self.folder / f"release-{self.releases}" / "shop"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        config = {"prefix": self.layer, "directory": str(self.folder), "patience": 3.0}
        (package / "settings.py").write_text(SETTINGS % config)
        (package / "urls.py").write_text(urls % version if "%r" in urls else urls)
        new = self.folder / "new"
        new.symlink_to(package.parent)
        new.replace(self.current)

    def begin(self, *options: str, command: tuple[str, ...] = ("twistd", "-n", "--pidfile=")):
        """Start it, in a process group of its own."""
        self.output = tempfile.NamedTemporaryFile(suffix=".log")  # noqa: SIM115  # as it is
        self.process = launched(
            [
                *command, "chanserv", "--settings=shop.settings", f"--chdir={self.current}",
                "--listen=tcp:0:interface=127.0.0.1", "--workers=2", "--threads=2", "--drain=0",
                *options,
            ],
            output=self.output,
            cwd=self.folder,
            env={"CHANSERV_TEST_FOLDER": str(self.folder)},
            own_group=True,
        )  # fmt: skip
        return self.process

    def log(self) -> str:
        """All that has been logged."""
        assert self.output is not None
        return Path(self.output.name).read_text(errors="replace")

    def logged(self, text: str, times: int = 1) -> None:
        """Wait until the log has C{text}."""
        try:
            wait_until(lambda: self.log().count(text) >= times or self._ended(), PATIENCE)
        except AssertionError:
            raise AssertionError(f"not logged: {text}\n{self.log()}") from None

    def _ended(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"it has ended:\n{self.log()}")
        return False

    @property
    def port(self) -> int:
        found = re.search(r"starting on (\d+)|at http://127\.0\.0\.1:(\d+)/", self.log())
        assert found, self.log()
        return int(found[1] or found[2])

    def get(self, path: str) -> str:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as answer:
            text: str = answer.read().decode()
            return text

    def noted(self, name: str) -> list[str]:
        """The lines that the site has noted under C{name}."""
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def workers(self) -> list[int]:
        """The ids of the workers that are there, by what was logged of them."""
        return [pid for pid in map(int, self.noted("loaded")) if is_alive(pid)]

    def let_go(self, name: str) -> None:
        """Have the views C{/hold/NAME/} answer."""
        (self.folder / name).touch()

    def hang_up(self) -> None:
        """Have the workers replaced."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def end(self) -> None:
        """Leave nothing running."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)
        if self.output is not None:
            self.output.close()


def is_alive(pid: int) -> bool:
    """Whether there is a process of that id that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def shop() -> Iterator[Shop]:
    """A site without a release; whatever runs it ends with the block."""
    # The path of a socket is short.
    with tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp") as folder:
        os.chmod(folder, 0o700)
        made = Shop(Path(folder))
        try:
            yield made
        except BaseException:
            if made.output is not None:
                print(made.log()[-6000:])  # noqa: T201
            raise
        finally:
            made.end()
