"""What an interface server has done, in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

from chanserv.errors import ChannelFull, ChannelLayerError, MessageTooLarge, WorkersAbsent
from chanserv.messages import Outcome


@dataclass(slots=True)
class Counts:
    """
    Counted since the server was made; each only grows, but for the three that
    say how many there are now.
    """

    connections_open: int = 0
    """Connections there are now, HTTP and WebSocket."""

    http2_connections: int = 0
    """Connections that turned out to speak HTTP/2."""

    streams_reset: int = 0
    """HTTP/2 requests that their client took back."""

    floods: int = 0
    """HTTP/2 connections closed because their client sent too much that brings no
    request forward."""

    sockets_open: int = 0
    """WebSockets there are now, past their handshake."""

    connections: int = 0
    """Connections accepted."""

    connections_refused: int = 0
    """Connections over the limit, answered 503."""

    connections_timed_out: int = 0
    """Connections closed because their client was too slow or silent."""

    requests: int = 0
    """Requests sent to the layer."""

    bad_requests: int = 0
    """Requests answered 4xx by the server itself."""

    handshakes: int = 0
    """WebSocket handshakes sent to the layer."""

    handshakes_refused: int = 0
    """Handshakes that a consumer refused, or that had no answer in time."""

    frames_in: int = 0
    """WebSocket messages of clients."""

    frames_out: int = 0
    """WebSocket messages to clients."""

    responses: int = 0
    """Responses begun, of the site or of the server itself."""

    full: int = 0
    """Events that found their channel full."""

    parked_now: int = 0
    """Events that wait at this moment, for a worker or for room in their channel."""

    parked: int = 0
    """Events that have waited so."""

    unattended: int = 0
    """Events that were refused since no worker was there, nor came in time."""

    expired: int = 0
    """Events that waited too long for a worker."""

    lost: int = 0
    """Events whose worker went away."""

    unanswered: int = 0
    """Requests and handshakes with no word in time."""

    overdue: int = 0
    """Events whose receipt never came."""

    unavailable: int = 0
    """Events that the layer could not take because its store was away."""

    disconnects_dropped: int = 0
    """Disconnect events that found their channel full for good."""

    late: int = 0
    """Replies to connections that were gone."""

    bad_replies: int = 0
    """Replies that could not be used."""

    headers_refused: int = 0
    """Response headers that a site must not set."""

    overflows: int = 0
    """Connections aborted because their client did not read."""

    def refused(self, error: ChannelLayerError) -> None:
        """The layer has not taken an event.  Its being too large is its client's doing."""
        if isinstance(error, ChannelFull):
            self.full += 1
        elif isinstance(error, WorkersAbsent):
            self.unattended += 1
        elif not isinstance(error, MessageTooLarge):
            self.unavailable += 1

    def unread(self, outcome: object) -> None:
        """An event has a receipt that may say that no worker has finished with it."""
        if outcome == Outcome.EXPIRED:
            self.expired += 1
        elif outcome == Outcome.LOST:
            self.lost += 1
