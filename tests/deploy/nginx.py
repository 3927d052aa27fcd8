"""nginx as a child of the tests, with one of the configurations in C{docs/deploy}."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.files import adapted
from tests.end_to_end.split import PATIENCE
from tests.processes import wait_until
from tests.programs import program

# Debian's own file has the like around what it includes.
_AROUND = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    log_format upstreams '$host $request_uri $status $upstream_addr $request_id';
    access_log {folder}/nginx-access.log upstreams;
    client_body_temp_path {folder}/temp;
    proxy_temp_path {folder}/temp;
    fastcgi_temp_path {folder}/temp;
    uwsgi_temp_path {folder}/temp;
    scgi_temp_path {folder}/temp;
    include {folder}/mysite.conf;
}}
"""


class Nginx:
    """
    A running nginx.

    @ivar folder: where its files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def errors(self) -> str:
        """What it complains of."""
        path = self.folder / "error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def server_of(self, path: str) -> str:
        """The address of the server that the last request for a path went to."""
        found: list[str] = []

        def is_logged() -> bool:
            lines = (self.folder / "nginx-access.log").read_text().splitlines()
            found[:] = [line.split()[3] for line in lines if line.split()[1] == path]
            return bool(found)

        wait_until(is_logged, PATIENCE)
        return found[-1]


def _command(folder: Path) -> tuple[list[str], dict[str, str]]:
    nginx = program("nginx")
    command = [nginx.path, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    return command, {**os.environ, **nginx.environment}


def write(folder: Path, name: str, changes: Mapping[str, str]) -> None:
    """Write what nginx reads: one of the files in C{docs/deploy}, with these changes."""
    (folder / "mysite.conf").write_text(adapted(name, changes))
    user = "root" if os.getuid() == 0 else "nobody"  # which then is not looked at
    (folder / "nginx.conf").write_text(_AROUND.format(folder=folder, user=user))


def check(folder: Path) -> str:
    """What nginx says of what was written."""
    command, environment = _command(folder)
    done = subprocess.run(
        [*command, "-t"], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@contextmanager
def running(folder: Path) -> Iterator[Nginx]:
    """Run nginx with what was written, until the block ends."""
    command, environment = _command(folder)
    with open(folder / "nginx.out", "wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        nginx = Nginx(folder)
        try:
            wait_until(
                lambda: (folder / "nginx.pid").exists() or process.poll() is not None, PATIENCE
            )
            assert process.poll() is None, (folder / "nginx.out").read_text() + nginx.errors()
            yield nginx
        except BaseException:
            print(nginx.errors())  # noqa: T201
            raise
        finally:
            process.terminate()
            process.wait()
