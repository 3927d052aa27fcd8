"""Interface servers and workers in processes of their own, over one layer."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.processes import launched, script, wait_until
from tests.redis_servers import redis_servers

HERE = Path(__file__).parent

PATIENCE = 90.0
"""Seconds that a test waits for what must come, on a machine however busy."""

FOREGROUND = ("twistd", "-n", "--pidfile=")
"""What runs C{chanserv}."""

LAYERS = ("ipc", "redis", "three shards")
"""What the tests run over."""


async def eventually(what: str, condition: Callable[[], object]) -> None:
    """
    Wait until something has come true.

    @raise AssertionError: it has not.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.05)


@dataclass
class Part:
    """One process of C{twistd chanserv}."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        """All that it has written so far."""
        return Path(self.output.name).read_text(errors="replace")

    @property
    def port(self) -> int:
        """The TCP port that it says it listens on."""
        found = re.search(r"at http://127\.0\.0\.1:(\d+)/", self.log())
        assert found, self.log()
        return int(found[1])

    def is_ready(self) -> bool:
        """Whether it says so."""
        if self.process.poll() is not None:
            raise AssertionError(f"it ended at its start:\n{self.log()}")
        return " is ready: " in self.log()

    def wait_until_ready(self) -> None:
        """
        Wait until it says that it is ready.

        @raise AssertionError: it does not.
        """
        deadline = time.monotonic() + PATIENCE
        while not self.is_ready():
            assert time.monotonic() < deadline, f"it is not ready:\n{self.log()}"
            time.sleep(0.05)

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        """End it as C{kill -9} does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as an operator would; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


@dataclass
class Split:
    """
    All processes of one site, over one layer.

    @ivar layer: the layer's URL.
    @ivar folder: where the site's views leave their files.
    """

    layer: str
    folder: Path
    stack: ExitStack
    parts: list[Part] = field(default_factory=list)

    def begin(self, *options: str, runner: Sequence[str] = FOREGROUND) -> Part:
        """Start C{twistd -n chanserv} with the layer and these options."""
        log = tempfile.NamedTemporaryFile(suffix=".log")  # noqa: SIM115  # the stack closes it
        output = self.stack.enter_context(log)
        process = launched(
            [*runner, "chanserv", f"--layer={self.layer}", *options],
            output=output,
            cwd=HERE,
            env=self.environment,
        )
        part = Part(process, output)
        self.parts.append(part)
        return part

    @contextmanager
    def daemon(self, *options: str) -> Iterator[int]:
        """Run C{twistd chanserv} in the background; give the id of its process."""
        pidfile, log = self.folder / "daemon.pid", self.folder / "daemon.log"
        command = ["twistd", f"--pidfile={pidfile}", f"--logfile={log}", f"--rundir={HERE}"]
        subprocess.run(
            [script(command[0]), *command[1:], "chanserv", f"--layer={self.layer}", *options],
            cwd=HERE,
            env={**os.environ, **self.environment},
            check=True,
            timeout=PATIENCE,
        )
        wait_until(lambda: pidfile.exists() and pidfile.read_text(), PATIENCE)
        pid = int(pidfile.read_text())
        try:
            wait_until(lambda: log.exists() and " is ready: " in log.read_text(), PATIENCE)
            yield pid
        finally:
            os.kill(pid, signal.SIGTERM)
            # It removes the file as the last thing it does.
            wait_until(lambda: not pidfile.exists(), PATIENCE)

    @property
    def environment(self) -> dict[str, str]:
        """What the processes have in theirs besides that of the tests."""
        return {"CHANSERV_TEST_FOLDER": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder)}

    def begin_interface(self, *options: str) -> Part:
        """Start an interface server without a site, on a port of its own choice."""
        return self.begin("--listen=tcp:0:interface=127.0.0.1", *options)

    def begin_worker(self, *options: str) -> Part:
        """Start worker threads that listen nowhere."""
        return self.begin(
            "--no-listen", "--settings=site_under_test.settings", "--threads=2", *options
        )

    def interface(self, *options: str) -> Part:
        """An interface server that is ready."""
        part = self.begin_interface(*options)
        part.wait_until_ready()
        return part

    def worker(self, *options: str) -> Part:
        """A worker that is ready."""
        part = self.begin_worker(*options)
        part.wait_until_ready()
        return part

    def show(self) -> None:
        """Print the logs of all its processes."""
        for part in self.parts:
            print(f"--- {part.pid}\n{part.log()[-4000:]}")  # noqa: T201

    def holders(self, name: str) -> list[int]:
        """The ids of the processes whose view C{/hold/NAME/} has begun."""
        return [int(one.suffix[1:]) for one in self.folder.glob(f"{name}.*")]

    def release(self, name: str) -> None:
        """Let the views C{/hold/NAME/} answer."""
        (self.folder / name).touch()


def stop_all(parts: Sequence[Part]) -> None:
    """Have all of them stop at once, and wait until each has."""
    for part in parts:
        if part.process.poll() is None:
            part.process.send_signal(signal.SIGTERM)
    for part in parts:
        part.stop()


@contextmanager
def split(kind: str, **options: str) -> Iterator[Split]:
    """
    A layer with nobody on it yet; all that is started there ends with the block.

    @param kind: one of L{LAYERS}.
    @param options: of the layer's URL.
    """
    query = "&".join(f"{name}={value}" for name, value in options.items())
    with ExitStack() as stack:
        # The path of a socket is short.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp")))
        os.chmod(folder, 0o700)
        if kind == "ipc":
            url = f"ipc:{secrets.token_hex(4)}"
        else:
            servers = stack.enter_context(redis_servers(3 if kind == "three shards" else 1))
            url = ",".join(server.url for server in servers)
        made = Split(f"{url}?{query}" if query else url, folder, stack)
        try:
            yield made
        except BaseException:
            made.show()
            raise
        finally:
            stop_all(made.parts)
