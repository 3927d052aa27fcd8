"""
Every bound of the interface server, in one place.

What a client can make the server hold, or wait for, is one of these.  Each has
its unit and the reason for its default beside it; the command line and the
tests take them from here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from chanserv.errors import ConfigurationError

_MAY_BE_ZERO: Final = frozenset(
    {
        "drain",
        "drain_timeout",
        "full_patience",
        "http2_streams",
        "park_seconds",
        "ping_interval",
        "socket_lifetime",
    }
)

DRAIN_TIMEOUT: Final = 8.0
"""Seconds that a stop waits for open requests: with what follows it, less than the ten
after which container and process supervisors commonly kill."""

DRAIN_MARGIN: Final = 3.0
"""Seconds for the clients whose sockets were closed last to say goodbye."""


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What one interface server holds and waits for, at most.

    @raise ConfigurationError: a value is not above zero, or two of them
        contradict each other.
    """

    connections: int = 20_000
    """Open connections, HTTP and WebSocket.  Further ones are answered 503 and
    closed.  At some 12 KB each this is 250 MB; the operating system's limit on
    open files may be lower."""

    header_bytes: int = 32_768
    """Bytes of a request line and its headers.  Twice what browsers with many
    cookies send; over it the answer is 431, or 414 for the request line."""

    header_count: int = 200
    """Headers of one request; over it the answer is 431.  Real requests have
    10 to 40."""

    header_timeout: float = 15.0
    """Seconds from the first byte of a request to the end of its headers, in
    all, and from a new connection to its first byte.  A slow mobile network
    needs two or three."""

    keep_alive_timeout: float = 75.0
    """Seconds that a connection may stay open between two requests.  Longer
    than the 60 s of common load balancers, so that they close first."""

    ahead_bytes: int = 16_384
    """Bytes that a client may send ahead of its present answer before it is no
    longer read: further requests, or the first frames of a WebSocket that waits
    for its consumer."""

    body_bytes: int = 1024 * 1024 * 1024
    """Bytes of a request body, which are spooled to disk; over it the answer is
    413.  The site has its own, lower, limits for what it keeps in memory."""

    body_memory: int = 256 * 1024
    """Bytes of a body that are kept in memory and sent as part of the request
    message.  A quarter of the message size that every layer carries."""

    body_part: int = 64 * 1024
    """Bytes of a part of a larger body, sent over its body channel."""

    body_window: int = 8
    """Parts of one body that are sent and not yet read: 512 KiB in the layer
    for each upload."""

    body_retry: float = 0.1
    """Seconds after which a part that found the body channel full is sent
    again."""

    body_timeout: float = 30.0
    """Seconds that the bytes of a body may stay away."""

    body_rate: int = 500
    """Bytes a second that a body brings at least, in the mean, beyond the
    first C{body_timeout} seconds: less is not a person waiting, but a socket
    being held.  A client of HTTP/2 takes as much of a response that waits for it,
    beyond the first C{send_timeout} seconds."""

    http_timeout: float = 120.0
    """Seconds from a request to the start of its response; after it 503.  The
    default of Daphne."""

    retry_after: int = 5
    """Seconds in the C{Retry-After} of an answer 503: about what the restart
    of a team of workers takes."""

    unsent_bytes: int = 8 * 1024 * 1024
    """Bytes written to a socket whose client does not read them; past it the
    connection is aborted.  A few times the largest message."""

    send_timeout: float = 300.0
    """Seconds that a client may leave its side of the connection full without
    taking anything: as long as 1 MB needs over the slowest link in use."""

    linger_timeout: float = 3.0
    """Seconds for which a refused client may still send, so that it reads its
    answer and not a reset connection (RFC 9112, section 9.6)."""

    http2_streams: int = 128
    """Requests that one HTTP/2 connection may have open at the same time; further
    ones are refused, and may be sent again at once.  0 for no HTTP/2.  Browsers
    have a hundred, proxies set their own bound."""

    http2_window: int = 256 * 1024
    """Bytes of one request's body that may be under way on an HTTP/2 connection,
    and a quarter of those of all: enough for 40 Mbit/s over 50 ms."""

    http2_continuations: int = 8
    """Frames that the headers of one HTTP/2 request may go on for after the first;
    past it the connection is closed.  All that C{header_bytes} allows fits in
    four."""

    http2_control_frames: int = 1000
    """Frames that bring no request forward, such as pings and settings, that an
    HTTP/2 client may send in one go; a thirtieth of it more each second, and
    one for each 256 bytes sent to it.  Past it the connection is closed."""

    http2_resets: int = 1000
    """Requests that an HTTP/2 client may take back in one go, and a thirtieth of it
    more each second; past it the connection is closed.  A browser that leaves a
    page takes back a hundred."""

    http2_unsent_bytes: int = 64 * 1024 * 1024
    """Bytes of responses that one HTTP/2 connection holds for its client: those of
    all its streams at 512 KiB each.  From a quarter of it on further requests
    wait; past it a response is broken off."""

    frame_bytes: int = 1024 * 1024
    """Bytes of one WebSocket frame; over it close 1009."""

    message_bytes: int = 1024 * 1024 - 4096
    """Bytes of one WebSocket message of a client; over it close 1009.  What a
    layer carries for certain is 1 MiB for the whole channel message."""

    handshake_timeout: float = 30.0
    """Seconds that a WebSocket handshake waits for the consumer's word; after
    it 503.  Browsers give up after a minute or two."""

    close_timeout: float = 5.0
    """Seconds that a client may take to answer a close frame."""

    ping_interval: float = 30.0
    """Seconds of silence after which a WebSocket client is pinged; 0 for
    never.  Less than the 60 s after which proxies drop silent connections."""

    ping_timeout: float = 30.0
    """Seconds that a pinged client may stay silent before it counts as gone."""

    socket_lifetime: float = 0.0
    """Seconds after which a WebSocket is closed in any case; 0 for the layer's
    group expiry, after which it would leave its groups in silence."""

    held_events: int = 64
    """Events of one WebSocket that wait for the one before them; past it the
    socket is not read until half of them are gone."""

    held_bytes: int = 1024 * 1024
    """Bytes of such events, likewise."""

    open_window: int = 16
    """Events of one WebSocket on their way to the layer at the same time, where
    they need not wait for each other (C{--unordered})."""

    settle_timeout: float = 600.0
    """Seconds after which an event whose receipt does not come, as when a
    store lost it, no longer holds back the next one.  Longer than any consumer
    should run."""

    disconnect_retries: int = 5
    """How often a C{websocket.disconnect} that finds its channel full is sent
    again, after 1, 2, 4 … seconds: half a minute in all."""

    deliveries: int = 1000
    """Messages taken from the layer in one trip."""

    full_patience: float = 2.0
    """Seconds for which an event that finds its channel full is tried again,
    before its client is answered 503; 0 for none.  A channel holds a hundred
    messages, which is less than a burst of a few hundred clients, and workers are
    through with those in a moment.  What an open WebSocket says waits for
    C{park_seconds}: one message of each, and to close it would bring its client
    back with a handshake besides."""

    park_seconds: float = 30.0
    """Seconds for which an event waits while no worker is there, before its client is
    answered 503 or closed with 1013; 0 for not at all.  Longer than the start of a
    large site takes, and about as long as a person or a proxy waits."""

    parked_events: int = 2_000
    """Events that wait in either of these ways; further ones are refused at once.
    Enough for a frame of each of two thousand sockets, and few enough for workers
    that come back to be through with them in seconds."""

    parked_bytes: int = 16 * 1024 * 1024
    """Bytes of such events, likewise."""

    drain: float = 5.0
    """Seconds over which the closes of WebSockets are spread when the server stops, so
    that not all clients come back in the same moment, and for which requests are
    still answered that come on open connections; 0 for everything at once."""

    drain_timeout: float = 0.0
    """Seconds that open requests may take to end when the server stops; 0 for
    L{DRAIN_TIMEOUT}, or L{DRAIN_MARGIN} more than C{drain} where that is longer.
    C{drain} is cut short where this is less."""

    @property
    def stop_seconds(self) -> float:
        """Seconds that a stop waits for open requests."""
        return self.drain_timeout or max(DRAIN_TIMEOUT, self.drain + DRAIN_MARGIN)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0 or (value == 0 and field.name not in _MAY_BE_ZERO):
                raise ConfigurationError(
                    f"the limit {field.name} must be above 0, and is {value!r}"
                )
        if self.body_part > self.body_memory:
            raise ConfigurationError(
                f"the limit body_part ({self.body_part}) must not be above body_memory "
                f"({self.body_memory})"
            )
