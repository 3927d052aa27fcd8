"""
Taking the bytes of an HTTP/2 connection apart into frames: pure code.

The C{h2} library can do that itself, but looks at the length of a frame only when
all of it has come, and acts on all frames of a read before anyone can stop it.
So each frame is cut out here, and what is too long, or goes on for too long, is
refused before it is kept.

Source: RFC 9113, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from h2.errors import ErrorCodes

from chanserv.errors import ChanservError

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (section 3.4)."""

MAX_PAYLOAD: Final = 16_384
"""Bytes of one frame's payload: what a client may send to who has not said
otherwise, and what all clients send."""

HEADER: Final = 9
"""Bytes of a frame besides its payload."""


class Kind(IntEnum):
    """The types of frames (section 6)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
"""Flags of frames."""


class ConnectionBroken(ChanservError):
    """
    A client does what ends its connection.

    @ivar code: what it is told (section 7).
    """

    def __init__(self, code: ErrorCodes, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Frame:
    """
    One whole frame.

    @ivar kind: its type; one of L{Kind}, or one that nobody knows.
    @ivar stream: the number of its stream; 0 for the connection.
    @ivar data: all of its bytes.
    """

    kind: int
    flags: int
    stream: int
    data: bytes

    @property
    def length(self) -> int:
        """Bytes of its payload."""
        return len(self.data) - HEADER


class FrameReader:
    """
    Cuts frames out of what comes after the preface.
    """

    __slots__ = (
        "_block",
        "_continuations",
        "_max_block",
        "_max_continuations",
        "_rest",
        "_settled",
    )

    def __init__(self, max_block: int, max_continuations: int) -> None:
        """
        @param max_block: bytes of one request's headers, as they are on the wire.
        @param max_continuations: frames that they may go on for after the first.
        """
        self._max_block = max_block
        self._max_continuations = max_continuations
        self._rest = b""
        self._settled = False
        self._block = -1
        self._continuations = 0

    @property
    def in_block(self) -> bool:
        """Whether the headers of a request have begun and not ended."""
        return self._block >= 0

    def read(self, data: bytes) -> Iterator[Frame]:
        """
        The frames that are complete with C{data}.

        What is left when its caller stops to read is lost.

        @raise ConnectionBroken: what comes is too long, or not HTTP/2.
        """
        if self._rest:
            data = self._rest + data
            self._rest = b""
        place, end = 0, len(data)
        while end - place >= HEADER:
            length = int.from_bytes(data[place : place + 3], "big")
            if length > MAX_PAYLOAD:
                raise ConnectionBroken(
                    ErrorCodes.FRAME_SIZE_ERROR, f"a frame of {length} bytes is too long"
                )
            kind, flags = data[place + 3], data[place + 4]
            if not self._settled:
                self._begin(kind, flags)
            following = place + HEADER + length
            if following > end:
                break
            stream = int.from_bytes(data[place + 5 : place + 9], "big") & 0x7FFFFFFF
            if kind == Kind.HEADERS or kind == Kind.CONTINUATION:
                self._measure(kind, flags, length)
            yield Frame(kind, flags, stream, data[place:following])
            place = following
        self._rest = data[place:]

    def _begin(self, kind: int, flags: int) -> None:
        """The first frame is the client's settings (section 3.4)."""
        if kind != Kind.SETTINGS or flags & ACK:
            raise ConnectionBroken(ErrorCodes.PROTOCOL_ERROR, "the first frame is no SETTINGS")
        self._settled = True

    def _measure(self, kind: int, flags: int, length: int) -> None:
        """Add up what one request's headers take."""
        if kind == Kind.HEADERS:
            self._block, self._continuations = 0, 0
        else:
            self._continuations += 1
        self._block += length
        if self._block > self._max_block or self._continuations > self._max_continuations:
            raise ConnectionBroken(
                ErrorCodes.ENHANCE_YOUR_CALM, "the headers of a request go on for too long"
            )
        if flags & END_HEADERS:
            self._block = -1
