"""
Inputs that no honest client sends, made from a seed.

Each is the bytes of one connection.  They start from what a client might
send and break it in one place or in many, since a server's parser is worn
down by the nearly right more than by noise.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator

HANDSHAKE = (
    b"GET /chat/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
"""A handshake without fault (the key is that of RFC 6455, section 1.3)."""

REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"POST /digest/ HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world",
    (
        b"POST /digest/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    ),
    HANDSHAKE,
)


def frame(
    opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True, reserved: int = 0
) -> bytes:
    """One WebSocket frame, lawful or not (RFC 6455, section 5.2)."""
    head = bytes([(0x80 if fin else 0) | (reserved << 4) | opcode])
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", len(payload))
    if not masked:
        return head + payload
    key = b"\x37\xfa\x21\x3d"
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def noise(dice: random.Random) -> bytes:
    """Random bytes, or random text with line ends."""
    size = dice.choice((1, 7, 64, 500, 2000))
    if dice.random() < 0.5:
        return dice.randbytes(size)
    return bytes(dice.choice(b"GET /:\r\n\t abc\x00\xff%") for _ in range(size))


def half_request(dice: random.Random) -> bytes:
    """A request that stops in the middle."""
    whole = dice.choice(REQUESTS)
    return whole[: dice.randrange(1, len(whole))]


def bent_request(dice: random.Random) -> bytes:
    """A request with a few of its bytes changed, doubled or gone."""
    request = bytearray(dice.choice(REQUESTS))
    for _ in range(dice.randrange(1, 6)):
        where = dice.randrange(len(request))
        match dice.randrange(3):
            case 0:
                request[where] = dice.randrange(256)
            case 1:
                request[where:where] = dice.randbytes(dice.randrange(1, 9))
            case _:
                del request[where : where + dice.randrange(1, 4)]
    return bytes(request)


def bad_framing(dice: random.Random) -> bytes:
    """A request whose body cannot be told from what follows it."""
    head = b"POST /digest/ HTTP/1.1\r\nHost: a\r\n"
    return head + dice.choice(
        (
            b"Content-Length: -5\r\n\r\nhello",
            b"Content-Length: 5, 6\r\n\r\nhello",
            b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
            b"Content-Length: 99999999999999999999\r\n\r\nhello",
            b"Content-Length: 0x5\r\n\r\nhello",
            b"Content-Length: +5\r\n\r\nhello",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /",
            b"Transfer-Encoding: gzip\r\n\r\nhello",
            b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 4000 + b"\r\nhello\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
            b"Expect: the impossible\r\nContent-Length: 5\r\n\r\nhello",
        )
    )


def bad_target(dice: random.Random) -> bytes:
    """A request line or path that is not what it should be; wrong UTF-8 among it."""
    target = dice.choice(
        (b"/%ff%fe", b"/%c3%28", b"/%", b"/%zz", b"/\xff\xfe", b"/%00", b"//", b"*", b"", b"a b c",
         b"http://[::1", b"/" + b"a" * dice.choice((100, 20000)), b"/%f0%28%8c%bc", b"/?%ff=\xff",
         b"/../../etc/passwd", b"/%2e%2e/%2e%2e/")
    )  # fmt: skip
    version = dice.choice((b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9.9", b"HTTP/", b"", b"SIP/2.0"))
    return dice.choice((b"GET ", b"get ", b"G\x00T ", b"")) + target + b" " + version + b"\r\n\r\n"


def header_flood(dice: random.Random) -> bytes:
    """More headers, or longer ones, than anyone needs."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n"
    match dice.randrange(5):
        case 0:
            return head + b"".join(b"X-%d: y\r\n" % i for i in range(1000)) + b"\r\n"
        case 1:
            return head + b"X-Long: " + b"y" * 70000 + b"\r\n\r\n"
        case 2:
            return head + b"y" * 70000
        case 3:
            return head + b" folded: " + b"\r\n folded" * 200 + b"\r\n\r\n"
        case _:
            name = dice.choice((b"", b"a b", b"a\x00", b"\xff", b":", b"x" * 5000))
            return head + name + b": " + dice.randbytes(30) + b"\r\n\r\n"


def bad_handshake(dice: random.Random) -> bytes:
    """A WebSocket handshake with something missing or wrong in it."""
    lines = HANDSHAKE.split(b"\r\n")[:-2]
    match dice.randrange(6):
        case 0:
            del lines[dice.randrange(1, len(lines))]
        case 1:
            lines[4] = b"Sec-WebSocket-Version: " + dice.choice((b"0", b"8", b"-1", b"x", b"14"))
        case 2:
            lines[5] = b"Sec-WebSocket-Key: " + dice.choice((b"", b"short", b"!" * 24, b"=" * 100))
        case 3:
            lines[0] = dice.choice((b"POST", b"PUT", b"XX")) + b" /chat/ HTTP/1.1"
        case 4:
            lines.append(b"Sec-WebSocket-Protocol: " + dice.choice((b",,,", b"\xff", b"a b", b"")))
        case _:
            wrong = (b";;;", b"permessage-deflate; x=", b"\xff")
            lines.append(b"Sec-WebSocket-Extensions: " + dice.choice(wrong))
    return (
        b"\r\n".join(lines)
        + b"\r\n\r\n"
        + dice.choice((b"", frame(1, b"early"), dice.randbytes(50)))
    )


def bad_frames(dice: random.Random) -> bytes:
    """A good handshake, then frames that break RFC 6455."""
    bad = dice.choice(
        (
            frame(1, b"\xc3\x28"),
            frame(1, b"\xed\xa0\x80"),
            frame(1, b"half a sign: \xe2\x82"),
            frame(1, b"plain", masked=False),
            frame(3, b"reserved opcode"),
            frame(11, b"reserved control"),
            frame(1, b"reserved bits", reserved=dice.randrange(1, 8)),
            frame(9, b"ping" * 40),
            frame(9, b"ping", fin=False),
            frame(0, b"continues nothing"),
            frame(1, b"first", fin=False) + frame(1, b"second"),
            frame(8, b"\x03"),
            frame(8, struct.pack("!H", dice.choice((0, 999, 1004, 1005, 1006, 5000, 65535)))),
            frame(8, struct.pack("!H", 1000) + b"\xff\xfe"),
            b"\x82\xff" + struct.pack("!Q", 2**63 - 1) + b"\x00" * 20,
            b"\x82\xff" + struct.pack("!Q", 2**40) + b"\x00" * 20,
            b"\x81\xfe\x00\x05abcdhello",
            dice.randbytes(100),
        )
    )
    return HANDSHAKE + bad


KINDS: tuple[Callable[[random.Random], bytes], ...] = (
    noise, half_request, bent_request, bad_framing, bad_target, header_flood, bad_handshake,
    bad_frames,
)  # fmt: skip


def inputs(count: int, seed: int | None = None) -> Iterator[bytes]:
    """C{count} inputs, all kinds in turn; the seed says which."""
    dice = random.Random(int.from_bytes(os.urandom(4)) if seed is None else seed)
    for number in range(count):
        yield KINDS[number % len(KINDS)](dice)
