"""A channel layer as the ASGI 1 specification has it, and as a site may have its own."""

import random
import threading
import time
from collections import deque
from typing import Any


class ChannelLayer:
    class ChannelFull(Exception):
        pass

    class MessageTooLarge(Exception):
        pass

    extensions = ("groups", "flush")
    capacity = 1000

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.flush()

    def send(self, channel: str, message: dict[str, Any]) -> None:
        head, mark, _ = channel.partition("!")
        with self.changed:
            queue = self.queues.setdefault(head + mark, deque())
            if len(queue) >= self.capacity:
                raise self.ChannelFull
            queue.append((channel, message))
            self.changed.notify_all()

    def receive(self, channels: list[str], block: bool = False) -> tuple[Any, Any]:
        end = time.monotonic() + (1 if block else 0)
        channels = random.sample(channels, len(channels))
        with self.changed:
            while True:
                for channel in channels:
                    if self.queues.get(channel):
                        return self.queues[channel].popleft()
                left = end - time.monotonic()
                if left <= 0:
                    return None, None
                self.changed.wait(left)

    def group_add(self, group: str, channel: str) -> None:
        with self.changed:
            self.groups.setdefault(group, set()).add(channel)

    def group_discard(self, group: str, channel: str) -> None:
        with self.changed:
            self.groups.get(group, set()).discard(channel)

    def group_channels(self, group: str) -> list[str]:
        with self.changed:
            return list(self.groups.get(group, ()))

    def send_group(self, group: str, message: dict[str, Any]) -> None:
        for channel in self.group_channels(group):
            try:
                self.send(channel, message)
            except self.ChannelFull:
                pass

    def flush(self) -> None:
        with self.changed:
            self.queues: dict[str, deque[tuple[str, Any]]] = {}
            self.groups: dict[str, set[str]] = {}


channel_layer = ChannelLayer()
