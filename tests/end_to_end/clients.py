"""Small clients on asyncio, for many connections at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.end_to_end.garbage import HANDSHAKE, frame


@asynccontextmanager
async def connected(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that is dropped at the end of the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def ask(port: int, path: str) -> Any:
    """What a view of the site answers in JSON."""
    answer = await get(port, path)
    return json.loads(answer.partition(b"\r\n\r\n")[2])


async def until(port: int, path: str, true: Callable[[Any], bool], seconds: float = 20) -> Any:
    """
    Ask until the answer is as it should be, and return it.

    @raise AssertionError: it never was; with the last answer.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = await ask(port, path)
        if true(answer):
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{path} still answers {answer!r}")
        await asyncio.sleep(0.05)


async def get(port: int, path: str = "/") -> bytes:
    """The whole answer to a GET on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    try:
        return await reader.read()
    finally:
        writer.close()


class Closed(ConnectionError):
    """
    The server has closed a WebSocket.

    @ivar code: its close code; 0 for none.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


@dataclass
class Socket:
    """An open WebSocket; frames are read whole and unmasked, as servers send them."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, port: int, path: str = "/chat/") -> Socket:
        """
        Make the handshake.

        @raise ConnectionError: it was refused; with the answer's first line.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE.replace(b"/chat/", path.encode()))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            writer.close()
            raise ConnectionError(head.split(b"\r\n")[0].decode())
        return cls(reader, writer)

    def send(self, text: str) -> None:
        """Send a text message."""
        self.writer.write(frame(1, text.encode()))

    async def receive(self) -> str:
        """
        The next text message; pings are answered.

        @raise Closed: the server closed.
        @raise ConnectionError: it sent something else.
        """
        while True:
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size > 125:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
            payload = await self.reader.readexactly(size)
            if first == 0x89:
                self.writer.write(frame(10, payload))
            elif first == 0x81:
                return payload.decode()
            elif first == 0x88:
                raise Closed(int.from_bytes(payload[:2]))
            else:
                raise ConnectionError(f"a frame with the first byte {first:#x}: {payload!r}")

    async def echo(self, text: str) -> None:
        """Send C{text} and check that it comes back."""
        self.send(text)
        answer = await self.receive()
        if answer != text:
            raise AssertionError(f"sent {text!r}, got {answer!r}")

    async def part(self, code: int) -> int:
        """Close as the protocol has it, and return the code of the answer."""
        self.writer.write(frame(8, code.to_bytes(2)))
        try:
            while True:
                await self.receive()
        except Closed as closed:
            self.writer.close()
            return closed.code

    def close(self) -> None:
        """Drop the connection, as a client that is gone."""
        self.writer.transport.abort()
