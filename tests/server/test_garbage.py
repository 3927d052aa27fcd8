"""Whatever a client sends costs its own connection, and is no fault of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel, globalLogPublisher

from chanserv.server import Limits
from tests.server.rig import HANDSHAKE, Rig, frame

LIMITS = Limits(
    header_bytes=2000,
    header_count=20,
    body_bytes=3000,
    body_memory=1000,
    body_part=100,
    frame_bytes=3000,
    message_bytes=4000,
)

WORDS = [
    b"GET / HTTP/1.1\r\n",
    b"POST /a?b HTTP/1.1\r\n",
    b"HEAD / HTTP/1.0\r\n",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 2000\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b" folded\r\n",
    b"\r\n",
    b"\n",
    b"5\r\nabcde\r\n",
    b"0\r\n\r\n",
    b"ffffffff\r\n",
    HANDSHAKE + b"\r\n",
    frame(b"text"),
    frame(b"bin", 2),
    frame(b"", 9),
    frame(b"\x03\xe8", 8),
    frame(b"x" * 200, fin=False),
    frame(b"rest", 0),
    b"\xff\x00\x80",
]

INPUT = st.lists(st.sampled_from(WORDS) | st.binary(max_size=300), max_size=20)


@contextmanager
def no_faults() -> Iterator[None]:
    """Nothing is logged meanwhile that says the fault is ours."""
    faults: list[Any] = []

    def observe(event: Any) -> None:
        if event["log_level"] in (LogLevel.critical, LogLevel.error, LogLevel.warn):
            faults.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    assert faults == []


def try_on(rig: Rig, begin: bytes, data: list[bytes], cut: int) -> None:
    """Send it in pieces of C{cut} bytes, leave, and see that nothing is left."""
    other = rig.connect()
    with no_faults():
        client = rig.connect()
        if begin:
            client.send(begin)
        whole = b"".join(data)
        for start in range(0, len(whole), cut):
            client.send(whole[start : start + cut], turn=False)
        rig.turn()
        client.leave()
        rig.advance(1)
    assert other.get().status() == 200
    assert rig.counts.connections_open == 1
    assert rig.counts.sockets_open == 0
    assert rig.server._context.recipients == {}
    assert len(rig.disconnects()) == len(rig.worker.named("http.request"))
    connects = rig.worker.named("websocket.connect")
    disconnects = rig.worker.named("websocket.disconnect")
    assert [m["reply_channel"] for m in connects] == [m["reply_channel"] for m in disconnects]


@given(INPUT, st.integers(1, 500))
def test_any_bytes_to_http(data: list[bytes], cut: int) -> None:
    try_on(Rig(limits=LIMITS), b"", data, cut)


@given(INPUT, st.integers(1, 500), st.booleans())
def test_any_bytes_to_a_websocket(data: list[bytes], cut: int, compression: bool) -> None:
    extension = b"Sec-WebSocket-Extensions: permessage-deflate\r\n" if compression else b""
    try_on(Rig(limits=LIMITS, compression=compression), HANDSHAKE + extension + b"\r\n", data, cut)
