"""
What the connections of one interface server share, and how the replies of
workers find their connection.
"""

from __future__ import annotations

from email.utils import formatdate
from enum import IntEnum
from secrets import token_urlsafe
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from chanserv.interfaces import IChannelLayer
from chanserv.messages import Delivery, Outcome
from chanserv.server.access_log import AccessLog
from chanserv.server.counts import Counts
from chanserv.server.farewells import Farewells
from chanserv.server.limits import Limits
from chanserv.server.losses import Losses
from chanserv.server.outlet import Outlet
from chanserv.server.proxies import ProxyHeaders
from chanserv.server.replies import Recipient, SharedReply
from chanserv.server.request_ids import RequestIds
from chanserv.server.responses import Response
from chanserv.server.timeouts import Timeouts


class Course(IntEnum):
    """How far a server is on its way to its end."""

    SERVING = 0
    DRAINING = 1
    """Nothing is accepted any more; what comes on open connections is answered."""
    DRAINED = 2
    """Connections without a request are closed."""
    ENDING = 3
    """Time is up."""


class Stoppable(Protocol):
    """
    A connection, as the server's stop sees it.

    @ivar lasting: whether its client comes back as soon as it is closed, so that
        such closes are spread over time.
    """

    @property
    def lasting(self) -> bool:
        """See above."""

    def stop(self) -> None:
        """End as soon as it can be done properly."""

    def close_idle(self) -> None:
        """Close, if nothing is under way."""

    def give_up(self) -> None:
        """
        The time to end properly has passed: end, with a word where it can be.  A
        moment later it is called again, and that is the end.
        """

    def abort(self) -> None:
        """End now."""


class ServerContext:
    """
    The surroundings of a connection.

    @ivar mailbox: the process-specific mailbox that all replies come to.
    @ivar recipients: who gets what comes to which reply channel.
    @ivar connections: all that hold a connection.
    @ivar batch: how many times deliveries have come from the layer.
    @ivar proxies: reads what proxies say of clients, or L{None}.
    @ivar request_ids: finds or makes the ids of requests, or L{None}.
    @ivar farewells: tells workers of the ends of connections.
    @ivar course: how far it is on its way to its end.
    """

    _log = Logger()

    def __init__(
        self,
        layer: IChannelLayer,
        clock: IReactorTime,
        *,
        limits: Limits,
        ordered: bool,
        access_log: AccessLog | None,
        root_path: str,
        proxies: ProxyHeaders | None = None,
        request_ids: RequestIds | None = None,
        server_name: str | None = None,
    ) -> None:
        self.layer = layer
        self.clock = clock
        self.limits = limits
        self.settles = bool(layer.settles)
        self.ordered = ordered and self.settles
        self.access_log = access_log
        self.root_path = root_path
        self.proxies = proxies
        self.request_ids = request_ids
        self._server_name = None if server_name is None else server_name.encode("ascii")
        self.counts = Counts()
        self.losses = Losses(self.counts, clock)
        self.timeouts = Timeouts(clock)
        self.outlet = Outlet(layer, clock, limits, self.counts)
        self.recipients: dict[str, Recipient] = {}
        self.connections: set[Stoppable] = set()
        self.course = Course.SERVING
        self.batch = 0
        self.mailbox = f"chanserv.response.{_random()}!"
        self.farewells = Farewells(self.outlet, self.mailbox + "farewells")
        self._body_prefix = f"http.request.body?{_random()}."
        self._serial = 0
        self._date_line = b""
        self._dated = -1

    @property
    def stopping(self) -> bool:
        """Whether the server is about to end."""
        return self.course is not Course.SERVING

    def new_reply_channel(self) -> str:
        """A reply channel that this server has never used."""
        self._serial += 1
        return f"{self.mailbox}{self._serial:x}"

    def new_body_channel(self) -> str:
        """A single-reader channel for the rest of a request's body."""
        self._serial += 1
        return f"{self._body_prefix}{self._serial:x}"

    def date_line(self) -> bytes:
        """The C{Date} header of a response sent now, made once a second."""
        now = int(self.clock.seconds())
        if now != self._dated:
            self._dated = now
            self._date_line = b"Date: %b\r\n" % formatdate(now, usegmt=True).encode("ascii")
        return self._date_line

    def sign(self, response: Response, request_id: bytes = b"") -> None:
        """
        Add the headers that say who answers, and to which request, where the
        site has set none.
        """
        if request_id and not response.identified:
            response.headers.append((b"X-Request-ID", request_id))
        if self._server_name is not None and not response.named:
            response.named = True
            if self._server_name:
                response.headers.append((b"Server", self._server_name))

    def deliver(self, delivery: Delivery) -> None:
        """Hand a message over to whom it is for.  Never raises."""
        if len(delivery.recipients) != 1:
            self._deliver_shared(delivery)
            return
        recipient = self.recipients.get(delivery.recipients[0])
        if recipient is None:
            if delivery.recipients[0] == self.farewells.channel:
                self.farewells.deliver(delivery)
                return
            if "receipt" not in delivery.message:
                self.counts.late += 1
            delivery.settle(Outcome.LOST)
            return
        try:
            recipient.deliver(delivery)
        except Exception:
            self._failed(recipient, delivery)

    def _deliver_shared(self, delivery: Delivery) -> None:
        try:
            shared = SharedReply(delivery.message)
        except Exception:
            self._log.failure("A message for a group could not be read")
            return
        find = self.recipients.get
        for name in delivery.recipients:
            recipient = find(name)
            if recipient is None:
                self.counts.late += 1
                continue
            try:
                recipient.deliver_shared(shared)
            except Exception:
                self._failed(recipient, delivery)
        delivery.settle()

    def _failed(self, recipient: Recipient, delivery: Delivery) -> None:
        self._log.failure(
            "The reply {reply!r} could not be handed to its connection", reply=delivery
        )
        delivery.settle(Outcome.LOST)
        try:
            recipient.fail()
        except Exception:
            self._log.failure("A connection could not be ended")


def _random() -> str:
    """Eight random letters and digits, as good as unique among servers."""
    return token_urlsafe(6).replace("-", "a").replace("_", "b")
