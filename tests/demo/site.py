"""The demo, served as C{make demo} serves it, with a database of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from tests.processes import Served, free_port, served

DEMO = Path(__file__).resolve().parent.parent.parent / "demo"


class Site:
    """
    The demo's server, which can go and come back on its port.

    @ivar url: its address, without a slash at the end.
    """

    def __init__(self, data: Path) -> None:
        """@param data: a directory for its database."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {"DEMO_DATA": str(data), "DEMO_SECRET_KEY": "for the tests alone"}
        self._running = ExitStack()
        self._server: Served | None = None

    def __enter__(self) -> Site:
        self.manage("migrate", "--verbosity=0")
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running.close()

    def manage(self, *arguments: str) -> str:
        """Run C{manage.py}, and return what it wrote; its failure is the test's."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=DEMO,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        listen = f"--listen=tcp:{self.port}:interface=127.0.0.1"
        command = ["twistd", "-n", "--pidfile=", "chanserv", "--settings=demo_site.settings"]
        self._server = self._running.enter_context(
            served([*command, listen], port=self.port, cwd=DEMO, env=self.environment)
        )

    def kill(self) -> None:
        """End the server as a power cut would, without a word to anyone."""
        assert self._server is not None
        self._server.process.send_signal(signal.SIGKILL)
        self._server.process.wait()
        self._running.close()

    def log(self) -> str:
        """What the server has written."""
        assert self._server is not None
        return self._server.log()
