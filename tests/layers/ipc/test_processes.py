"""Real processes: killed with children that live on, and stopped in mid-stream."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from chanserv.layers.ipc import IPCChannelLayer
from chanserv.layers.ipc.seat import State
from chanserv.messages import Send
from tests.layers.ipc.rig import make_directory, make_ipc_layer

PATIENCE = 60.0

ROOT = Path(__file__).resolve().parents[3]

MEGABYTE = 1024 * 1024


class Reader:
    """One of these processes."""

    def __init__(self, test: TestCase, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.layers.ipc.reader_process", *arguments],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        test.addCleanup(self.end)

    async def line(self) -> list[str]:
        """The next that it says."""
        assert self.process.stdout is not None
        line: str = await deferToThread(self.process.stdout.readline)
        assert line, "it has ended"
        return line.split()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Processes(TestCase):
    timeout = 4 * PATIENCE

    def setUp(self) -> None:
        self.directory = make_directory(self)

    def make(self, **config: Any) -> IPCChannelLayer:
        layer: IPCChannelLayer = make_ipc_layer(self.directory, patience=PATIENCE, **config)
        self.addCleanup(layer.close)
        return layer

    async def until(self, condition: Callable[[], object]) -> None:
        from twisted.internet import reactor

        deadline = reactor.seconds() + PATIENCE
        while not condition():
            self.assertLess(reactor.seconds(), deadline, "it has not come true")
            await deferLater(reactor, 0.01, lambda: None)

    async def test_a_host_that_is_killed_is_followed_though_its_child_lives_on(self) -> None:
        host = Reader(self, self.directory, "host.channel", "1", "fork")
        _, state, child = await host.line()
        self.addCleanup(os.kill, int(child), signal.SIGKILL)
        self.assertEqual(state, "HOST")
        guest = self.make()
        waiting = guest.receive(["channel"])
        await guest.global_statistics()
        self.assertEqual(guest._seat.state, State.GUEST)
        host.end()
        await self.until(lambda: guest._seat.state is State.HOST)
        await guest.send("channel", {"number": 1})
        self.assertEqual((await waiting)[0].message, {"number": 1})

    async def test_a_guest_that_is_killed_is_noticed_though_its_child_lives_on(self) -> None:
        host = self.make()
        await host.send("channel", {}, "box!x")
        guest = Reader(self, self.directory, "guest!", "1", "fork")
        _, state, child = await guest.line()
        self.addCleanup(os.kill, int(child), signal.SIGKILL)
        self.assertEqual(state, "GUEST")
        await host.group_add("group", "guest!x")
        await host.send("guest!x", {"number": 1})
        self.assertEqual((await guest.line())[0], "1")
        guest.end()
        # With its mailbox its memberships end.
        assert host._seat.host is not None
        await self.until(lambda: not host._seat.host.connections)
        self.assertEqual(await host.group_channels("group"), [])

    async def test_a_stopped_reader_of_large_messages_holds_up_nobody_and_no_memory(self) -> None:
        host = self.make(capacity=40)
        await host.global_statistics()
        stopped = Reader(self, self.directory, "large", "100", "-")
        await stopped.line()
        reader = Reader(self, self.directory, "small", "100", "-")
        await reader.line()
        stopped.signal(signal.SIGSTOP)
        body = b"x" * MEGABYTE
        errors: list[Any] = []
        for _ in range(30):
            errors += await host.send_batch([Send("large", {"body": body}) for _ in range(4)])
            await host.send("small", {"body": b"x"})
            self.assertEqual(await reader.line(), ["1", "1"])
        refused = sum(error is not None for error in errors)
        # What has left the channel is what one receive is given, and no more.
        taken = 120 - refused - 40
        self.assertTrue(1 <= taken <= 3, f"{taken} messages have left the channel")
        stopped.signal(signal.SIGCONT)
        got = 0
        while got < 120 - refused:
            count, size = map(int, await stopped.line())
            self.assertEqual(size, count * MEGABYTE)
            got += count

    async def test_a_thousand_messages_of_a_megabyte_pass_in_bounded_memory(self) -> None:
        host = self.make(channel_capacity={"large": 20})
        reader = Reader(self, self.directory, "large", "100", "-")
        await reader.line()
        body = b"x" * MEGABYTE
        left, got, sent = 1_000, 0, 0
        while left:
            errors = await host.send_batch([Send("large", {"body": body})] * min(5, left))
            sent = sum(error is None for error in errors)
            left -= sent
            while got < 1_000 - left:
                count, size = map(int, await reader.line())
                self.assertEqual(size, count * MEGABYTE)
                got += count
        status = Path(f"/proc/{reader.process.pid}/status").read_text()
        (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
        self.assertLess(int(peak.split()[1]), 200 * 1024, "kilobytes at the most")
