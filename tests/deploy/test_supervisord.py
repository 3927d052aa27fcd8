"""The configuration for supervisord, run by supervisord itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.files import adapted
from tests.end_to_end.clients import Socket, ask
from tests.end_to_end.split import PATIENCE, eventually
from tests.processes import free_port, launched, script, wait_until

SITE = Path(__file__).resolve().parents[1] / "end_to_end"


@dataclass
class Supervised:
    """
    A supervisord with the site.

    @ivar port: where the site is to be had.
    """

    process: subprocess.Popen[bytes]
    configuration: Path
    port: int

    def control(self, *words: str) -> str:
        """What C{supervisorctl} says."""
        done = subprocess.run(
            [script("supervisorctl"), "-c", str(self.configuration), *words],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.stdout + done.stderr

    def pid(self, program: str) -> int:
        return int(self.control("pid", f"mysite:{program}"))

    def logs(self) -> str:
        """What the programs have said."""
        folder = self.configuration.parent
        return "\n".join(one.read_text(errors="replace") for one in sorted(folder.glob("*.log")))


@contextmanager
def supervised(folder: Path) -> Iterator[Supervised]:
    """Start supervisord, and stop it with all that it runs when the block ends."""
    port, metrics = free_port(), free_port()
    run = folder / "run"
    run.mkdir(mode=0o700)
    text = adapted(
        "supervisord.conf",
        {
            "/srv/mysite/venv/bin/": str(Path(sys.executable).parent) + "/",
            "/srv/mysite/run": str(run),
            "/srv/mysite": str(SITE),
            "/var/log/supervisor": str(folder),
            "/run/supervisor": str(folder / "s"),
            "mysite.settings": "site_under_test.settings",
            "tcp:8000:": f"tcp:{port}:",
            "tcp:9100:": f"tcp:{metrics}:",
            "--workers=4": "--workers=2",
            # We may be anybody.
            "user=root\n": "",
            "user=mysite\n": "",
            "minfds=65536": "minfds=1024",
        },
    )
    configuration = folder / "supervisord.conf"
    configuration.write_text(text)
    with tempfile.NamedTemporaryFile(suffix=".log") as output:
        process = launched(
            ["supervisord", "--nodaemon", "-c", str(configuration)],
            output=output,
            cwd=folder,
            env={"CHANSERV_TEST_FOLDER": str(folder)},
        )
        made = Supervised(process, configuration, port)
        try:
            yield made
        except BaseException:
            print(Path(output.name).read_text(), made.logs())  # noqa: T201
            raise
        finally:
            process.terminate()
            wait_until(lambda: process.poll() is not None, PATIENCE)


def test_workers_are_replaced_and_started_anew_under_an_open_socket() -> None:
    async def until_another_answers(site: Supervised, old: set[int]) -> set[int]:
        """The process that runs the site, when it is none of these."""
        while True:
            pid = (await ask(site.port, "/pid/"))["pid"]
            if pid not in old:
                return {pid}
            await asyncio.sleep(0.05)

    async def visit(site: Supervised) -> None:
        await eventually("it listens", lambda: " is ready: " in site.logs())
        ws = await Socket.open(site.port)
        await ws.echo("before")
        front, workers = site.pid("front"), site.pid("workers")

        seen = {(await ask(site.port, "/pid/"))["pid"] for _ in range(8)}
        assert workers not in seen, "the supervising process runs the site"
        site.control("signal", "HUP", "mysite:workers")
        await until_another_answers(site, seen)
        await ws.echo("after a reload")
        assert site.pid("workers") == workers

        said = await asyncio.to_thread(site.control, "restart", "mysite:workers")
        assert "mysite:workers: started" in said or "workers: started" in said, said
        await ws.echo("after a restart")
        assert site.pid("workers") != workers
        assert site.pid("front") == front
        ws.close()

    with (
        # The path of a socket is short.
        tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp") as name,
        supervised(Path(name)) as site,
    ):
        asyncio.run(asyncio.wait_for(visit(site), PATIENCE * 2))
        assert "stopped" in site.control("stop", "mysite:*")
        states = site.control("status")
        assert states.count("STOPPED") == 2, states
        assert "Traceback" not in site.logs(), site.logs()
