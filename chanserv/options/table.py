"""
The table of all options of the command line: what each takes, and what it is for.

The parser, the help and the messages about wrong values are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from chanserv.options.kinds import (
    COUNT,
    DURATION,
    FLAG,
    GLOB,
    HEADER,
    NETWORKS,
    PATH,
    SIZE,
    TEXT,
    Kind,
    read_log_format,
)
from chanserv.running.config import DEFAULT_ENDPOINT, Config
from chanserv.server.limits import Limits
from chanserv.server.proxies import DEFAULT_ADDRESS_HEADER, DEFAULT_TRUSTED
from chanserv.server.responses import SERVER


@dataclass(frozen=True)
class Choice:
    """
    One option.

    @ivar name: as it is written after the dashes.
    @ivar doc: what it is for, for an operator.
    @ivar default: its value when it is not given; L{None} for none.
    @ivar limit: the field of L{Limits} that it sets, if it does.
    @ivar repeated: whether it may be given more than once, and adds up.
    """

    name: str
    kind: Kind
    doc: str
    default: Any = None
    limit: str = ""
    repeated: bool = False


def _limit(name: str, field: str, kind: Kind, doc: str) -> Choice:
    return Choice(name, kind, doc, _LIMIT_DEFAULTS[field], field)


_LIMIT_DEFAULTS: Final = {one.name: one.default for one in fields(Limits)}
_CONFIG: Final = {one.name: one.default for one in fields(Config)}

GROUPS: Final[tuple[tuple[str, tuple[Choice, ...]], ...]] = (
    (
        "What to serve",
        (
            Choice("settings", TEXT, "The Django site's settings, such as mysite.settings. "
                   "Without it this process is an interface server only."),
            Choice("layer", TEXT, "The channel layer: a URL (memory:, ipc:mysite, "
                   "redis://host:6379/0), the dotted path of a layer object "
                   "(mysite.asgi:channel_layer), or an alias in CHANNEL_LAYERS. Default: "
                   "'default' in CHANNEL_LAYERS, or memory where there is none."),
            Choice("chdir", PATH, "Change to this directory first; the default is to stay."),
            Choice("pythonpath", PATH, "Look for the site's code here too. The current directory "
                   "is looked in anyhow."),
        ),
    ),
    (
        "Where to listen",
        (
            Choice("listen", Kind("ENDPOINT"), "A Twisted endpoint, such as "
                   "tcp:8000:interface=127.0.0.1 or unix:/run/chanserv.sock. May be given more "
                   "than once.", DEFAULT_ENDPOINT, repeated=True),
            Choice("no-listen", FLAG, "Listen nowhere: run workers only."),
            Choice("root-path", PATH, "Where the site is mounted, as SCRIPT_NAME: /shop.", ""),
            Choice("server-name", TEXT, "What the Server header says where the site sets none.",
                   SERVER.decode("ascii")),
            Choice("no-server-name", FLAG, "Send no Server header where the site sets none."),
        ),
    ),
    (
        "Behind a proxy",
        (
            Choice("proxy-headers", FLAG, "Believe what trusted proxies say of clients, in "
                   "X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Port."),
            Choice("trusted-proxies", NETWORKS, "IP addresses and networks of these proxies, with "
                   "commas between them; 'unix' for all that come by a Unix socket. May be given "
                   "more than once.", DEFAULT_TRUSTED, repeated=True),
            Choice("proxy-headers-host", HEADER, "The header that has the client's address. "
                   "Forwarded is read as RFC 7239 says, in place of all X-Forwarded ones.",
                   DEFAULT_ADDRESS_HEADER),
            Choice("proxy-headers-port", HEADER, "A header that has the client's port; the "
                   "default is to read none."),
        ),
    ),
    (
        "Workers",
        (
            Choice("threads", COUNT, "How many consumers and views run at once; 0 for none.",
                   _CONFIG["threads"]),
            Choice("workers", COUNT, "How many worker processes to run and supervise, each with "
                   "--threads; 0 for threads in this process. Needs a layer that processes share. "
                   "SIGHUP replaces them by new ones that run the site's new code.", 0),
            Choice("release", TEXT, "A label of the code that workers run, shown with them; "
                   "or @PATH of a file that begins with it, read anew for each new worker process.",
                   ""),
            Choice("stop-timeout", DURATION, "How long a stop waits for consumers that run.",
                   _CONFIG["stop_timeout"]),
            Choice("finish-timeout", DURATION, "How long a worker process waits for consumers that "
                   "run when another has taken its place.", _CONFIG["finish_timeout"]),
            Choice("start-timeout", DURATION, "How long a worker process may take to load the "
                   "site.", _CONFIG["start_timeout"]),
            Choice("stuck-after", DURATION, "How long all threads of a worker may be in the "
                   "same consumers, or its process give no sign of life, before that is said.",
                   _CONFIG["stuck_after"]),
            Choice("replace-stuck", FLAG, "Replace such a worker process."),
            Choice("reload", FLAG, "For development: replace worker processes when a file of the "
                   "site changes."),
            Choice("only-channels", GLOB, "Read only those of the site's channels that match, such "
                   "as 'thumbnails.*'. May be given more than once.", repeated=True),
            Choice("exclude-channels", GLOB, "Do not read those of the site's channels that match. "
                   "May be given more than once.", repeated=True),
        ),
    ),
    (
        "Logs, metrics and health",
        (
            Choice("access-log", PATH, "Log requests in the combined format to this file, or to "
                   "standard output for '-'. The default is not to."),
            Choice("log-format", Kind("FORMAT", read_log_format), "text, or json for a log of one "
                   "JSON object a line; with it, --access-log=- is JSON too.",
                   _CONFIG["log_format"]),
            Choice("no-request-ids", FLAG, "Give requests no X-Request-ID, and pass on what "
                   "clients send."),
            Choice("metrics", Kind("ENDPOINT"), "A Twisted endpoint for the pages /metrics "
                   "(Prometheus), /healthz and /readyz, such as tcp:9100:interface=127.0.0.1."),
        ),
    ),
    (
        "WebSockets",
        (
            Choice("unordered", FLAG, "Do not keep a socket's next event waiting until its last "
                   "has been handled."),
            Choice("websocket-compression", FLAG, "Compress messages for clients that offer it; "
                   "costs some 10 KB of memory a socket."),
        ),
    ),
    (
        "Limits of connections and HTTP (at most)",
        (
            _limit("max-connections", "connections", COUNT, "Open connections, WebSockets "
                   "included."),
            _limit("max-header-bytes", "header_bytes", SIZE, "A request's line and headers."),
            _limit("max-headers", "header_count", COUNT, "Headers of a request."),
            _limit("header-timeout", "header_timeout", DURATION, "For all headers to arrive."),
            _limit("keep-alive-timeout", "keep_alive_timeout", DURATION, "Between two requests."),
            _limit("max-body", "body_bytes", SIZE, "A request's body."),
            _limit("max-body-memory", "body_memory", SIZE, "Of a body, what is kept in memory and "
                   "not on disk."),
            _limit("body-part", "body_part", SIZE, "A part of a large body on the layer."),
            _limit("body-window", "body_window", COUNT, "Parts of one body on the layer."),
            _limit("body-retry", "body_retry", DURATION, "Before a part is sent again to a full "
                   "channel."),
            _limit("body-timeout", "body_timeout", DURATION, "Without a byte of an unfinished "
                   "body."),
            _limit("min-body-rate", "body_rate", SIZE, "Of a body, in each second, at least."),
            _limit("max-pipelined", "ahead_bytes", SIZE, "Sent by a client while its last request "
                   "is not answered."),
            _limit("http-timeout", "http_timeout", DURATION, "From a request to the first byte of "
                   "its response."),
            _limit("retry-after", "retry_after", COUNT, "Seconds after which a client that was "
                   "answered 503 may come back."),
            _limit("max-unsent", "unsent_bytes", SIZE, "Written to a client and not taken by it."),
            _limit("send-timeout", "send_timeout", DURATION, "Without a client taking anything."),
            _limit("linger-timeout", "linger_timeout", DURATION, "For a refused client to read "
                   "its answer."),
            _limit("full-patience", "full_patience", DURATION, "For an event to be tried again "
                   "whose channel is full; 0 for not at all."),
            _limit("park-seconds", "park_seconds", DURATION, "For an event to wait while no worker "
                   "is there; 0 for not at all."),
            _limit("park-messages", "parked_events", COUNT, "Events that wait in either way."),
            _limit("park-bytes", "parked_bytes", SIZE, "Of such events."),
            _limit("max-deliveries", "deliveries", COUNT, "Messages taken from the layer in one "
                   "trip."),
            _limit("drain", "drain", DURATION, "Over which the closes of WebSockets are spread at "
                   "a stop, and open connections still served; 0 for all at once."),
            _limit("drain-timeout", "drain_timeout", DURATION, "For open requests to end at a "
                   "stop; 0 for 8s, or 3s more than --drain."),
        ),
    ),
    (
        "Limits of HTTP/2 (at most, for each connection)",
        (
            _limit("http2-max-streams", "http2_streams", COUNT, "Requests open at the same time; "
                   "0 for no HTTP/2."),
            _limit("http2-window", "http2_window", SIZE, "Of one request's body, under way; of "
                   "all bodies four times that."),
            _limit("http2-max-continuations", "http2_continuations", COUNT, "Frames that the "
                   "headers of a request go on for."),
            _limit("http2-max-control-frames", "http2_control_frames", COUNT, "Pings, settings "
                   "and the like in one go, or in half a minute."),
            _limit("http2-max-resets", "http2_resets", COUNT, "Requests taken back in one go, or "
                   "in half a minute."),
            _limit("http2-max-unsent", "http2_unsent_bytes", SIZE, "Responses that wait for the "
                   "client."),
        ),
    ),
    (
        "Limits of WebSockets (at most)",
        (
            _limit("websocket-max-frame", "frame_bytes", SIZE, "One frame."),
            _limit("websocket-max-message", "message_bytes", SIZE, "One message."),
            _limit("websocket-handshake-timeout", "handshake_timeout", DURATION, "For the site to "
                   "accept or refuse."),
            _limit("websocket-close-timeout", "close_timeout", DURATION, "For a client to answer "
                   "a close."),
            _limit("websocket-ping-interval", "ping_interval", DURATION, "Of silence before a "
                   "ping; 0 for no pings."),
            _limit("websocket-ping-timeout", "ping_timeout", DURATION, "For a pinged client to "
                   "show itself."),
            _limit("websocket-lifetime", "socket_lifetime", DURATION, "Until a socket is closed "
                   "in any case; 0 for the layer's group expiry."),
            _limit("websocket-held-events", "held_events", COUNT, "Events of one socket that wait "
                   "for the one before; past it the socket is not read."),
            _limit("websocket-held-bytes", "held_bytes", SIZE, "Bytes of such events, likewise."),
            _limit("websocket-window", "open_window", COUNT, "Events of one socket on their way "
                   "at once, with --unordered."),
            _limit("websocket-settle-timeout", "settle_timeout", DURATION, "For a consumer to end, "
                   "before the next event no longer waits."),
            _limit("disconnect-retries", "disconnect_retries", COUNT, "Tries to say that a socket "
                   "has closed, when the channel is full."),
        ),
    ),
)  # fmt: skip
"""Every option, in the order of the help."""

CHOICES: Final = {one.name: one for _, group in GROUPS for one in group}
