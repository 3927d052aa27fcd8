"""The far end of a layer's connections: what a store sees of the processes that use it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Heard:
    """
    One connection.

    @ivar said: all that came on it.
    @ivar over: whether its last process has let go of it.
    """

    connection: socket.socket
    said: bytes = b""
    over: bool = False

    def listen(self) -> None:
        try:
            while part := self.connection.recv(65536):
                self.said += part
        except OSError:
            pass
        self.over = True


@dataclass
class Store:
    """A Unix socket that takes connections and answers nothing."""

    path: str
    heard: list[Heard] = field(default_factory=list)

    def take(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            one = Heard(connection)
            self.heard.append(one)
            threading.Thread(target=one.listen, daemon=True).start()


@contextmanager
def store(path: str) -> Iterator[Store]:
    """A L{Store} at C{path}, until the block ends."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        found = Store(path)
        threading.Thread(target=found.take, args=(listening,), daemon=True).start()
        try:
            yield found
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for one in found.heard:
                one.connection.close()
