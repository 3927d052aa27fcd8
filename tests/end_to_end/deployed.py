"""A site whose code is edited while it runs, and the processes that serve it."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.end_to_end.crowd import Crowd
from tests.end_to_end.split import Part, eventually, stop_all
from tests.processes import launched

SETTINGS = """
    SECRET_KEY = "only for tests"
    ALLOWED_HOSTS = ["127.0.0.1"]
    ROOT_URLCONF = "deployed.urls"
    INSTALLED_APPS = ["chanserv.django"]
    USE_TZ = True
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "chanserv.layers.MemoryChannelLayer",
            "ROUTING": "deployed.routing.channel_routing",
        }
    }
"""

ROUTING = """
    import os
    import time
    from pathlib import Path
    from uuid import uuid4

    from deployed.version import VERSION

    from chanserv.django import Group, route

    MARK = f"answer:{VERSION}:{os.getpid()}:"
    FOLDER = Path(__file__).parent.parent
    RUNS = os.open(FOLDER / f"runs.{os.getpid()}", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def join(message):
        message.reply_channel.send({"accept": True})
        Group("crowd").add(message.reply_channel)

    def hear(message):
        text = message["text"]
        os.write(RUNS, f"{message.reply_channel.name} {text}\\n".encode())
        # As long as a query or two.
        time.sleep(0.01)
        if text.startswith("all:"):
            Group("crowd").send({"text": f"group:{text[4:]}"})
            return
        number, _, how = text.partition(" ")
        if how == "hold":
            hold()
        message.reply_channel.send({"text": MARK + number})

    def hold():
        # Say that we have begun, and wait until we are let go.
        (FOLDER / f"held.{uuid4()}.{os.getpid()}").touch()
        deadline = time.monotonic() + 120
        while not (FOLDER / "let-go").exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def leave(message):
        os.write(RUNS, f"{message.reply_channel.name} leaves\\n".encode())
        Group("crowd").discard(message.reply_channel)

    channel_routing = [
        route("websocket.connect", join),
        route("websocket.receive", hear),
        route("websocket.disconnect", leave),
    ]
"""

HELD = 3
"""Events that are in the hands of workers when one of them is killed: fewer than one
worker has threads, so that the other goes on meanwhile."""

URLS = """
    from deployed.version import VERSION
    from django.http import HttpResponse
    from django.urls import path

    urlpatterns = [path("", lambda request: HttpResponse(f"{VERSION} made a page"))]
"""

BROKEN = 'raise ImportError("this code is broken")\n'


@dataclass
class Deployed:
    """
    A site in a folder of its own, and what runs on it.

    @ivar version: which code stands there.
    @ivar killed: workers that were.
    """

    folder: Path
    layer: str
    stack: ExitStack
    version: int = 0
    killed: set[int] = field(default_factory=set)
    parts: list[Part] = field(default_factory=list)

    def write(self, text: str | None = None) -> str:
        """
        Edit the code.

        @param text: its new text; without it, that of the next version.
        @return: the version that answers carry.
        """
        if text is None:
            self.version += 1
            text = f'VERSION = "v{self.version}"\n'
        (self.folder / "deployed" / "version.py").write_text(text)
        return f"v{self.version}"

    def begin(self, *options: str) -> Part:
        """Start C{twistd -n chanserv} on the layer."""
        log = tempfile.NamedTemporaryFile(suffix=".log")  # noqa: SIM115  # the stack closes it
        output = self.stack.enter_context(log)
        process = launched(
            ["twistd", "-n", "--pidfile=", "chanserv", f"--layer={self.layer}", *options],
            output=output,
            cwd=self.folder,
            # A second edit within one second would go unnoticed.
            env={"XDG_RUNTIME_DIR": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        part = Part(process, output)
        self.parts.append(part)
        return part

    def show(self) -> None:
        """Print what all have logged."""
        for part in self.parts:
            print(f"--- {part.pid}\n{part.log()[-6000:]}")  # noqa: T201

    # What an operator does

    async def deploy(self, crowd: Crowd, supervisor: Part) -> set[int]:
        """
        Write new code, and have a supervisor take it.

        @return: the processes that run it.
        """
        done = supervisor.log().count(" have taken over: ")
        version = self.write()
        supervisor.process.send_signal(signal.SIGHUP)
        pids = await crowd.until_answered_by(version)
        await eventually(
            "all are replaced", lambda: supervisor.log().count(" have taken over: ") > done
        )
        return pids

    async def deploy_broken_code(self, crowd: Crowd, supervisor: Part) -> None:
        """Write code that cannot be imported, and see that the old workers go on."""
        told = supervisor.log().count("Workers are not replaced")
        self.write(BROKEN)
        supervisor.process.send_signal(signal.SIGHUP)
        await eventually(
            "the error is said",
            lambda: supervisor.log().count("Workers are not replaced") > told,
        )
        assert "this code is broken" in supervisor.log()
        before = crowd.by_worker.copy()
        await eventually("the old workers answer", lambda: (crowd.by_worker - before).total() >= 20)
        now, then = ({version for version, _ in seen} for seen in (crowd.by_worker, before))
        assert now <= then, now - then

    async def kill_a_worker(self, crowd: Crowd) -> None:
        """Kill a worker with events in its hands, and see another get them."""
        for talker in crowd.talkers[:HELD]:
            talker.speak(" hold")
        await eventually("they are held", lambda: crowd.check() or len(self.holders()) == HELD)
        (victim, count), *_ = Counter(self.holders()).most_common()
        before = {pid for _, pid in crowd.by_worker}
        os.kill(victim, signal.SIGKILL)
        self.killed.add(victim)
        await eventually("others have taken them", lambda: len(self.holders()) == HELD + count)
        (self.folder / "let-go").touch()
        await eventually(
            "another is in its place", lambda: {pid for _, pid in crowd.by_worker} - before
        )

    def runs(self) -> dict[str, list[int]]:
        """For each event the processes that have run its consumer."""
        runs: dict[str, list[int]] = {}
        for path in self.folder.glob("runs.*"):
            for line in path.read_text().splitlines():
                runs.setdefault(line, []).append(int(path.suffix[1:]))
        return runs

    async def check_runs(self, crowd: Crowd) -> None:
        """
        When all have gone, see that a consumer ran once for each message and each end of a
        socket, save where a worker was killed that had begun with it: there another ran
        once more.

        @raise AssertionError: it is not so.
        """
        await eventually(
            "the site has heard of each who left",
            lambda: sum(line.endswith(" leaves") for line in self.runs()) == len(crowd.talkers),
        )
        runs = self.runs()
        assert len(runs) == crowd.messages + len(crowd.talkers)
        again = {line: pids for line, pids in runs.items() if len(pids) > 1}
        assert again
        for line, pids in again.items():
            assert len(pids) == 2, (line, pids)
            assert self.killed & set(pids), (line, pids, self.killed)

    def holders(self) -> list[int]:
        """The process of each consumer that was begun for an event that is held."""
        return [int(one.suffix[1:]) for one in self.folder.glob("held.*")]


@contextmanager
def deployed(layer: str) -> Iterator[Deployed]:
    """
    A site of which nothing runs yet; all that is started there ends with the block.

    @param layer: a URL, or C{ipc} for a layer of that kind.
    """
    with ExitStack() as stack:
        # The path of a socket is short.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp")))
        os.chmod(folder, 0o700)
        package = folder / "deployed"
        package.mkdir()
        for name, text in {
            "__init__": "",
            "settings": SETTINGS,
            "routing": ROUTING,
            "urls": URLS,
        }.items():
            (package / f"{name}.py").write_text(textwrap.dedent(text))
        url = f"ipc:{secrets.token_hex(4)}" if layer == "ipc" else layer
        site = Deployed(folder, f"{url}{'&' if '?' in url else '?'}redeliver=*", stack)
        site.write()
        try:
            yield site
        except BaseException:
            site.show()
            raise
        finally:
            stop_all(site.parts)
