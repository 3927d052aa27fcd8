"""
The same as L{benchmarks.layers.chanserv_process} over C{channels_redis}, the layer of
Channels 4, in the environment where that is installed.

It is used as Channels uses it: each connection has a task that waits for messages of its
own channel.  It has no batches.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import traceback
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

from benchmarks.layers.traffic import PAUSE, TEXT, Heard

JOINING: Final = 20
"""Members added at a time: each takes a connection, of which there are a hundred."""


@dataclass
class Reader:
    """What this process reads over one layer, and what has come."""

    layer: Any
    count: int = 0
    delays: list[float] = field(default_factory=list)
    heard: dict[int, Heard] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def read(self, channel: str) -> None:
        """Take what comes on one channel."""
        while True:
            message = await self.layer.receive(channel)
            now = time.monotonic()
            self.count += 1
            if "number" in message:
                heard = self.heard.setdefault(message["number"], Heard())
                heard.members += 1
                heard.seconds = now - message["sent"]
            elif "sent" in message:
                self.delays.append(now - message["sent"])
            self.news.set()

    async def until(self, condition: Any) -> None:
        """Wait until something that has come makes C{condition} true."""
        while not condition():
            self.news.clear()
            await self.news.wait()


class Orders:
    """What this process can be told; see the module for what each is."""

    def __init__(self) -> None:
        self._readers: dict[str, Reader] = {}

    async def hello(self) -> None:
        """Be there."""

    async def open(self, name: str, spec: str) -> None:
        """Make a layer on the server whose URL is C{spec}."""
        kind = import_module("channels_redis.core").RedisChannelLayer
        self._readers[name] = Reader(kind(hosts=[spec], capacity=1_000_000))

    async def close(self, name: str) -> None:
        """Let go of a layer."""
        reader = self._readers.pop(name)
        for task in reader.tasks:
            task.cancel()
        await asyncio.gather(*reader.tasks, return_exceptions=True)
        await reader.layer.close_pools()

    async def read(self, name: str) -> str:
        """Make up a channel and read it from now on."""
        reader = self._readers[name]
        channel: str = await reader.layer.new_channel()
        reader.tasks.append(asyncio.ensure_future(reader.read(channel)))
        return channel

    async def join(self, name: str, group: str, count: int) -> None:
        """Make C{count} channels, each with its reader, members of a group."""
        reader = self._readers[name]
        for first in range(0, count, JOINING):
            channels = [await self.read(name) for _ in range(min(JOINING, count - first))]
            await asyncio.gather(*[reader.layer.group_add(group, one) for one in channels])

    async def send_one_by_one(
        self, name: str, channel: str, seconds: float, senders: int = 1
    ) -> list[float]:
        """Send, each when the last is in the store, so often at a time."""
        layer = self._readers[name].layer
        begun = time.monotonic()

        async def send() -> int:
            count = 0
            while time.monotonic() < begun + seconds:
                await layer.send(channel, {"type": "text", "text": TEXT})
                count += 1
            return count

        return [sum(await asyncio.gather(*[send() for _ in range(senders)])), begun]

    async def send_slowly(self, name: str, channel: str, count: int) -> None:
        """Send messages that say when, with pauses between them."""
        layer = self._readers[name].layer
        for _ in range(count):
            await asyncio.sleep(PAUSE)
            await layer.send(channel, {"type": "text", "text": TEXT, "sent": time.monotonic()})

    async def send_group(self, name: str, group: str, number: int) -> None:
        """Send a numbered message to a group."""
        message = {"type": "text", "text": TEXT, "number": number, "sent": time.monotonic()}
        await self._readers[name].layer.group_send(group, message)

    async def reached(self, name: str, count: int) -> float:
        """Wait until so many messages have come; tell when the last did."""
        reader = self._readers[name]
        await reader.until(lambda: reader.count >= count)
        reader.count -= count
        return time.monotonic()

    async def delays(self, name: str, count: int) -> list[float]:
        """Wait for so many messages that say when they were sent; tell how late they came."""
        reader = self._readers[name]
        await reader.until(lambda: len(reader.delays) >= count)
        delays, reader.delays, reader.count = reader.delays, [], 0
        return delays

    async def heard(self, name: str, number: int, members: int) -> float:
        """Wait for a group message; tell how late it came."""
        reader = self._readers[name]
        await reader.until(lambda: reader.heard.get(number, Heard()).members >= members)
        reader.count = 0
        return reader.heard.pop(number).seconds


async def main() -> None:
    """Do as told until the standard input ends."""
    orders = Orders()
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        order, *arguments = json.loads(line)
        try:
            answer = [await getattr(orders, order)(*arguments), None]
        except Exception as error:
            traceback.print_exc()
            answer = [None, f"{type(error).__name__}: {error}"]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
