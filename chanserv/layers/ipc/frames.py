"""
Frames: how bytes on a stream become messages of the IPC protocol again.

A frame is its length, four bytes, the most significant first, and so many
bytes of MessagePack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from chanserv.codec import MAX_ENCODED_SIZE
from chanserv.errors import CorruptMessage

MAX_FRAME: Final = MAX_ENCODED_SIZE + 8 * 1024 * 1024
"""Bytes in one frame: the largest message that a codec makes, what one receive may
get before it, and ample room for what stands around these.  A length above it is no
length, but noise."""

_HEAD: Final = 4


def framed(payload: bytes) -> bytes:
    """
    One frame.

    @raise ValueError: C{payload} is longer than any frame.
    """
    if len(payload) > MAX_FRAME:
        raise ValueError(f"a frame of {len(payload)} bytes is over the limit of {MAX_FRAME}")
    return len(payload).to_bytes(_HEAD, "big") + payload


class FrameReader:
    """
    Takes bytes as they come, and gives whole frames.

    The parts of a large frame are kept apart and joined once, so that reading
    one costs by its length, not by the square of that.
    """

    __slots__ = ("_expected", "_held", "_limit", "_parts")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        """
        @param limit: bytes in one frame.
        """
        self._limit = limit
        self._parts: list[bytes] = []
        self._held = 0
        self._expected = _HEAD

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Take C{data}, and give the payloads of the frames that it completes.

        Take all of them before the next call.

        @raise CorruptMessage: what comes is no frame; nothing that follows on
            this stream can be understood.
        """
        self._parts.append(data)
        self._held += len(data)
        if self._held < self._expected:
            return
        buffer = b"".join(self._parts) if len(self._parts) > 1 else data
        start, end = 0, len(buffer)
        expected = _HEAD
        while end - start >= _HEAD:
            length = int.from_bytes(buffer[start : start + _HEAD], "big")
            if length > self._limit:
                raise CorruptMessage(
                    f"a frame of {length} bytes was announced, and {self._limit} are allowed: "
                    f"whoever sends this does not speak the IPC layer's protocol"
                )
            expected = _HEAD + length
            if end - start < expected:
                break
            yield buffer[start + _HEAD : start + expected]
            start += expected
            expected = _HEAD
        rest = buffer[start:] if start else buffer
        self._parts = [rest] if rest else []
        self._held = len(rest)
        self._expected = expected
