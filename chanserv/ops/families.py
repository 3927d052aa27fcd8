"""
The names of all metrics, and where their numbers come from.

C{docs/metrics.rst} explains each; a test holds that page and this table together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """What kind of number a metric is."""

    COUNTER = "counter"
    """Only grows, until its process ends."""

    GAUGE = "gauge"
    """Is as it is now."""

    HISTOGRAM = "histogram"
    """Times, sorted by how long they were."""

    INFO = "info"
    """Always 1; its labels are what matters."""


@dataclass(frozen=True, slots=True)
class Family:
    """
    One metric, with all values that its labels take.

    @ivar doc: the line that goes with it on the page of metrics.
    """

    kind: Kind
    doc: str
    labels: tuple[str, ...] = ()


def _counter(doc: str, *labels: str) -> Family:
    return Family(Kind.COUNTER, doc, labels)


def _gauge(doc: str, *labels: str) -> Family:
    return Family(Kind.GAUGE, doc, labels)


FAMILIES: Final[Mapping[str, Family]] = {
    # This process
    "chanserv_info": Family(Kind.INFO, "Versions of this process", ("version", "release")),
    "chanserv_start_time_seconds": _gauge("When this process began, in seconds since 1970"),
    "chanserv_ready": _gauge("1 where /readyz says 200, else 0"),
    "chanserv_log_events_total": _counter("Lines in the log", "level"),
    # The interface server
    "chanserv_connections": _gauge("Connections now, sockets included"),
    "chanserv_websockets": _gauge("WebSockets now"),
    "chanserv_connections_accepted_total": _counter("Connections accepted"),
    "chanserv_connections_refused_total": _counter("Connections over the limit"),
    "chanserv_connections_timed_out_total": _counter("Connections of clients too slow or silent"),
    "chanserv_connections_overflowed_total": _counter("Connections of clients that did not read"),
    "chanserv_connections_http2_total": _counter("Connections that spoke HTTP/2"),
    "chanserv_connections_flooded_total": _counter("HTTP/2 connections with too much of nothing"),
    "chanserv_streams_reset_total": _counter("HTTP/2 requests that their client took back"),
    "chanserv_requests_total": _counter("Requests sent to the layer"),
    "chanserv_requests_bad_total": _counter("Requests answered 4xx by the server itself"),
    "chanserv_responses_total": _counter("Responses begun"),
    "chanserv_handshakes_total": _counter("WebSocket handshakes sent to the layer"),
    "chanserv_handshakes_refused_total": _counter("Handshakes refused, or not answered in time"),
    "chanserv_frames_total": _counter("WebSocket messages", "direction"),
    "chanserv_events_unhandled_total": _counter(
        "Events that no worker has finished with", "reason"
    ),
    "chanserv_parked_events": _gauge("Events that wait at the interface server now"),
    "chanserv_events_parked_total": _counter("Events that have waited there"),
    "chanserv_replies_pending": _gauge("Replies that wait for this interface server"),
    "chanserv_replies_oldest_seconds": _gauge("Age of the one that waits longest"),
    "chanserv_replies_unused_total": _counter("Replies that reached no client", "reason"),
    "chanserv_response_headers_refused_total": _counter("Headers that a site must not set"),
    # The layer
    "chanserv_layer_up": _gauge("1 where the channel layer answers, else 0"),
    "chanserv_layer_round_trip_seconds": Family(Kind.HISTOGRAM, "Time of the layer's answers"),
    "chanserv_layer_messages_total": _counter("Messages sent over the layer"),
    "chanserv_layer_full_total": _counter("Sends that found their channel full"),
    "chanserv_layer_expired_total": _counter("Messages that waited too long"),
    "chanserv_layer_lost_total": _counter("Messages whose reader went away"),
    "chanserv_layer_messages_pending": _gauge("Messages that wait on the layer"),
    "chanserv_layer_oldest_message_seconds": _gauge("Age of the message that waits longest"),
    "chanserv_channel_messages_pending": _gauge("Messages that wait on a channel", "channel"),
    "chanserv_channel_oldest_message_seconds": _gauge(
        "Age of the message that waits longest on a channel", "channel"
    ),
    "chanserv_channel_messages_total": _counter("Messages sent to a channel", "channel"),
    "chanserv_channel_full_total": _counter("Sends that found a channel full", "channel"),
    "chanserv_channel_expired_total": _counter(
        "Messages that waited too long on a channel", "channel"
    ),
    "chanserv_channel_lost_total": _counter(
        "Messages of a channel whose reader went away", "channel"
    ),
    # Workers
    "chanserv_workers": _gauge("Workers of this process and its children", "state", "release"),
    "chanserv_worker_restarts_total": _counter("Workers started anew"),
    "chanserv_worker_threads": _gauge("Consumers that can run at once", "release"),
    "chanserv_worker_threads_busy": _gauge("Consumers that run now", "release"),
    "chanserv_worker_oldest_run_seconds": _gauge(
        "Time that the consumer has run which has run longest", "release"
    ),
    "chanserv_worker_ignored_total": _counter("Messages whose consumer does nothing", "release"),
    "chanserv_worker_expired_total": _counter(
        "Messages that no thread was free for in time", "release"
    ),
    "chanserv_worker_postponed_total": _counter("Messages put off by consumers", "release"),
    "chanserv_worker_dropped_total": _counter("Messages put off too often", "release"),
    "chanserv_worker_resends_total": _counter("Sends tried again, their channel full", "release"),
    "chanserv_worker_sends_dropped_total": _counter(
        "Sends that never reached their channel", "release"
    ),
    "chanserv_consumer_seconds": Family(
        Kind.HISTOGRAM, "Time that consumers ran", ("consumer", "release")
    ),
    "chanserv_consumer_failures_total": _counter(
        "Runs of consumers that raised", "consumer", "release"
    ),
}
"""By name, as on the page of metrics."""

COUNTS: Final[Mapping[str, tuple[str, ...]]] = {
    "connections_open": ("chanserv_connections",),
    "sockets_open": ("chanserv_websockets",),
    "connections": ("chanserv_connections_accepted_total",),
    "connections_refused": ("chanserv_connections_refused_total",),
    "connections_timed_out": ("chanserv_connections_timed_out_total",),
    "overflows": ("chanserv_connections_overflowed_total",),
    "http2_connections": ("chanserv_connections_http2_total",),
    "floods": ("chanserv_connections_flooded_total",),
    "streams_reset": ("chanserv_streams_reset_total",),
    "requests": ("chanserv_requests_total",),
    "bad_requests": ("chanserv_requests_bad_total",),
    "responses": ("chanserv_responses_total",),
    "handshakes": ("chanserv_handshakes_total",),
    "handshakes_refused": ("chanserv_handshakes_refused_total",),
    "frames_in": ("chanserv_frames_total", "in"),
    "frames_out": ("chanserv_frames_total", "out"),
    "full": ("chanserv_events_unhandled_total", "full"),
    "parked_now": ("chanserv_parked_events",),
    "parked": ("chanserv_events_parked_total",),
    "unattended": ("chanserv_events_unhandled_total", "unattended"),
    "expired": ("chanserv_events_unhandled_total", "expired"),
    "lost": ("chanserv_events_unhandled_total", "lost"),
    "unanswered": ("chanserv_events_unhandled_total", "unanswered"),
    "overdue": ("chanserv_events_unhandled_total", "overdue"),
    "unavailable": ("chanserv_events_unhandled_total", "unavailable"),
    "disconnects_dropped": ("chanserv_events_unhandled_total", "disconnect"),
    "late": ("chanserv_replies_unused_total", "late"),
    "bad_replies": ("chanserv_replies_unused_total", "bad"),
    "headers_refused": ("chanserv_response_headers_refused_total",),
}
"""Where each field of L{Counts<chanserv.server.counts.Counts>} goes: a family, and the
values of its labels."""

TEAM: Final[Mapping[str, str]] = {
    "ignored": "chanserv_worker_ignored_total",
    "expired": "chanserv_worker_expired_total",
    "postponed": "chanserv_worker_postponed_total",
    "dropped": "chanserv_worker_dropped_total",
    "resends": "chanserv_worker_resends_total",
    "sends_dropped": "chanserv_worker_sends_dropped_total",
}
"""The same for L{TeamCounters<chanserv.worker.counters.TeamCounters>}, by release."""

TEAM_BY_CONSUMER: Final = frozenset({"runs", "failures"})
"""Its fields that stand with the consumers."""

LAYER: Final[Mapping[str, str]] = {
    "messages_count": "chanserv_layer_messages_total",
    "channel_full_count": "chanserv_layer_full_total",
    "messages_expired_count": "chanserv_layer_expired_total",
    "messages_lost_count": "chanserv_layer_lost_total",
    "messages_pending": "chanserv_layer_messages_pending",
    "messages_max_age": "chanserv_layer_oldest_message_seconds",
}
"""The same for what a layer's C{global_statistics} give."""

MAILBOX: Final[Mapping[str, str]] = {
    "messages_pending": "chanserv_replies_pending",
    "messages_max_age": "chanserv_replies_oldest_seconds",
}
"""The same for its C{channel_statistics} of the interface server's mailbox."""

CHANNEL: Final[Mapping[str, str]] = {
    "messages_count": "chanserv_channel_messages_total",
    "channel_full_count": "chanserv_channel_full_total",
    "messages_expired_count": "chanserv_channel_expired_total",
    "messages_lost_count": "chanserv_channel_lost_total",
    "messages_pending": "chanserv_channel_messages_pending",
    "messages_max_age": "chanserv_channel_oldest_message_seconds",
}
"""The same for those of other channels, by channel."""
