"""Tests for C{chanserv.supervision.child_link}, and for real processes that use it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from chanserv.supervision.actions import Rules
from chanserv.supervision.child_link import (
    MAX_WAITING,
    MAX_WAITING_BYTES,
    ChildLink,
    Gone,
    Telling,
)
from chanserv.supervision.lines import MAX_PRINTED
from chanserv.supervision.supervisor import Supervisor
from tests.processes import wait_until

PATIENCE = 60.0


class Pipes:
    """Both pipes, and the supervisor's ends of them."""

    def __init__(self) -> None:
        down, self.to_child = os.pipe()
        self.from_child, up = os.pipe()
        self.link = ChildLink(down, up)
        self.ours = [down, up]
        self.told: list[str] = []

    def start(self) -> None:
        self.link.start(self.told.append, 0.0, lambda drain, seconds: drain())

    def tell(self, text: bytes) -> None:
        os.write(self.to_child, text)

    def said(self, count: int) -> list[dict]:
        data = b""
        while data.count(b"\n") < count:
            data += os.read(self.from_child, 65536)
        return [json.loads(line) for line in data.splitlines()]


@pytest.fixture
def pipes():
    made = Pipes()
    yield made
    for descriptor in (made.to_child, made.from_child):
        os.close(descriptor)


class TestFirst:
    def test_it_is_what_the_supervisor_says_first_however_it_comes(self, pipes: Pipes) -> None:
        line = json.dumps({"slot": 3, "orders": {"settings": "x" * 200_000}}).encode() + b"\n{}"
        telling = threading.Thread(
            target=lambda: [pipes.tell(line[n : n + 999]) for n in range(0, len(line), 999)]
        )
        telling.start()
        assert len(pipes.link.first()["orders"]["settings"]) == 200_000
        assert pipes.link.slot == 3
        telling.join()

    @pytest.mark.parametrize("text", [b"", b'{"half', b"nonsense\n"])
    def test_without_one_there_is_no_supervisor(self, text: bytes) -> None:
        pipes = Pipes()
        pipes.tell(text)
        os.close(pipes.to_child)
        with pytest.raises(Gone):
            pipes.link.first()
        os.close(pipes.from_child)


class TestSaying:
    def test_nothing_that_is_needed_is_left_out_where_nobody_reads(self, pipes: Pipes) -> None:
        tell = Telling(pipes.link)
        for number in range(MAX_WAITING + 500):
            pipes.link.say({"beat": number}, needed=False)
        tell({"log_format": "lost, too"})
        pipes.link.say({"state": "loaded"})
        assert pipes.link.dropped == 501
        pipes.start()
        said = pipes.said(MAX_WAITING + 1)
        assert said[-1] == {"state": "loaded"}
        tell({"log_format": "heard", "log_time": 1.0, "log_level": LogLevel.info})
        missing, heard = pipes.said(2)
        assert "501 messages to the supervisor were left out" in missing["log"]["text"]
        assert heard["log"]["text"] == "heard"
        pipes.link.end()

    def test_few_large_events_fill_the_room_as_many_small_ones_do(self, pipes: Pipes) -> None:
        text = "x" * (MAX_WAITING_BYTES // 16)
        for _ in range(20):
            pipes.link.say({"log": text}, needed=False)
        assert 3 <= pipes.link.dropped <= 5
        pipes.start()
        pipes.said(20 - pipes.link.dropped)
        assert pipes.link.has_room
        pipes.link.say({"log": text}, needed=False)
        assert pipes.said(1) == [{"log": text}]
        pipes.link.end()

    def test_where_the_supervisor_is_gone_nobody_waits(self) -> None:
        pipes = Pipes()
        pipes.start()
        os.close(pipes.from_child)
        for _ in range(100):
            pipes.link.say({"state": "loaded"})
        pipes.link.end()
        os.close(pipes.to_child)

    def test_values_that_are_not_plain_are_said_as_text(self, pipes: Pipes) -> None:
        pipes.start()
        pipes.link.say({"changed": Path("/srv/x.py")})
        assert pipes.said(1) == [{"changed": "/srv/x.py"}]
        pipes.link.end()


CHILD = """
import os, sys, time
from chanserv.supervision.child_link import ChildLink
link = ChildLink(3, 4)
orders = link.first()["orders"]
def told(what):
    if what == "drain" and not orders.get("deaf"):
        link.end()
        os._exit(0)
    if what == "go":
        link.say({"state": "running"})
        exec(orders["do"])
link.start(told, 0.0 if orders.get("deaf") else 5.0)
link.say({"state": "loaded"})
exec(orders.get("before", ""))
while True:
    link.say({"beat": {"slot": 0, "pid": 0, "state": "running"}})
    time.sleep(0.2)
"""


class RealProcesses(TestCase):
    """Processes that do what a test says, and a supervisor that does not know."""

    timeout = 240

    def begin(self, do: str = "", workers: int = 1, **orders) -> Supervisor:
        from twisted.internet import reactor

        made = Supervisor(
            Rules(workers, stop_timeout=0.1),
            {"do": do, **orders},
            reactor,
            command=(sys.executable, "-c", CHILD),
        )
        self.heard: list = []
        made.heard["note"] = lambda slot, value: self.heard.append(value)
        made.startService()
        self.addCleanup(made.stopService)
        return made

    async def until(self, condition) -> None:
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        deadline = reactor.seconds() + PATIENCE
        while not condition():
            assert reactor.seconds() < deadline, "it did not come true"
            await deferLater(reactor, 0.05)

    async def test_a_worker_has_no_socket_of_its_supervisor(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.set_inheritable(True)
        self.addCleanup(listening.close)
        self.begin(
            "link.say({'note': [os.readlink(f'/proc/self/fd/{fd}') "
            "for fd in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{fd}')]})"
        )
        await self.until(lambda: self.heard)
        assert not any("socket" in one for one in self.heard[0])
        assert sum("pipe" in one for one in self.heard[0]) == 5

    async def test_megabytes_without_an_end_of_line_harm_nobody(self) -> None:
        with capturedLogs() as events:
            made = self.begin(
                "sys.stdout.write('x' * 5_000_000 + chr(10)); sys.stdout.flush(); "
                "os.write(4, b'y' * 6_000_000 + b'\\n'); os.write(4, bytes(1000)); os._exit(7)"
            )
            await self.until(lambda: self.ended(events))
        texts = [formatEvent(one) for one in events]
        assert "[worker 1] " + "x" * MAX_PRINTED in texts
        assert max(map(len, texts)) < 3 * MAX_PRINTED
        assert any("Worker 1 ended: exit status 7" in one for one in texts)
        await self.until(lambda: made.crew.slots[0].restarts == 1)

    def ended(self, events) -> bool:
        return any("Worker 1 ended" in (formatEvent(one) or "") for one in events)

    async def test_one_whose_descendant_holds_its_pipes_is_seen_to_end(self) -> None:
        with capturedLogs() as events:
            made = self.begin(
                "import subprocess; "
                "other = subprocess.Popen(['sleep', '300'], close_fds=False, pass_fds=(4,)); "
                "link.say({'note': other.pid}); time.sleep(0.3); os._exit(7)"
            )
            await self.until(lambda: self.ended(events))
        await made.stopService()
        for pid in self.heard:
            os.kill(pid, signal.SIGKILL)
        # Nobody reads a pipe any more, or the test would not be clean.

    async def test_one_that_closes_its_pipes_and_does_not_hear_is_killed_at_the_end(self) -> None:
        made = self.begin(
            "link.say({'note': os.getpid()}); time.sleep(0.5); os.closerange(1, 5)", deaf=True
        )
        await self.until(lambda: self.heard)
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        await deferLater(reactor, 1.0)
        await made.stopService()
        wait_until(lambda: not Path(f"/proc/{self.heard[0]}/stat").exists(), PATIENCE)
