"""
A process's part in an IPC layer: host or guest, and how it comes to be that.

Whoever gets the lock is the host.  The others connect to it; when that fails, or
the host is gone, each tries for the lock again after a short, random wait.  The
kernel gives the lock to one of them, whatever their timing.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.errors import LayerUnavailable
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.host import Host
from chanserv.layers.ipc.links import ANSWER_TIMEOUT, Link, Parting
from chanserv.layers.ipc.local_link import LocalLink
from chanserv.layers.ipc.options import HubOptions
from chanserv.layers.ipc.place import Lock, Place
from chanserv.layers.ipc.remote_link import RemoteLink
from chanserv.layers.ipc.sessions import Sink

FIRST_WAIT: Final = 0.01
"""Seconds, on average, before the second try: the time in which a process that has
just got the lock comes to listen."""

LONGEST_WAIT: Final = 0.25
"""Seconds, on average, that it grows to: many processes that look for a host keep
no core busy, and yet one takes over well within a second."""

TROUBLED_WAIT: Final = 1.0
"""Seconds between tries when something is wrong that only an operator can mend."""

CONNECT_TIMEOUT: Final = 5.0
"""Seconds for a connection, with the host's greeting: a host that takes longer is
stopped, and knocking anew will not wake it, but shows when it is gone."""

DEFERENCE: Final = 1.0
"""Seconds in which a process that would rather be a guest tries to find a host: for
a shell or a task that ends soon, and should not take the hub with it."""


class State(Enum):
    """What a process does about the hub."""

    IDLE = auto()
    """Nothing yet."""
    SEEKING = auto()
    """It waits for its next try, or connects."""
    GUEST = auto()
    """It is connected."""
    HOST = auto()
    """It has the hub."""
    CLOSED = auto()
    """Nothing any more."""


class Occupant(Protocol):
    """Who is told of the hub."""

    def hub_found(self, link: Link, now: float) -> None:
        """There is a hub, whose time is C{now}."""

    def hub_lost(self, parting: Parting) -> None:
        """It is gone."""

    def owns_mailboxes(self) -> bool:
        """Whether there is something to be put back into the next."""

    def hub_missing(self, reason: str) -> None:
        """There still is none, and why."""


class _OneGuest(Factory):
    noisy = False

    def __init__(self, make: Callable[[], RemoteLink]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> RemoteLink:
        return self._make()


class Seat:
    """
    See the module.

    @ivar state: what it does.
    @ivar host: the host, while it is this process.
    """

    _log = Logger()

    def __init__(
        self,
        place: Place,
        options: HubOptions,
        reactor: Any,
        clock: Any,
        sink: Sink,
        occupant: Occupant,
        *,
        guest: bool = False,
        answer_timeout: float = ANSWER_TIMEOUT,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """
        @param reactor: connects, listens and waits.
        @param clock: the hub's, should it be here.
        @param sink: gets what the hub delivers.
        @param guest: whether to leave hosting to others, if there are any.
        @param uniform: gives random numbers for the waits.
        """
        self.state = State.IDLE
        self.host: Host | None = None
        self._place = place
        self._options = options
        self._reactor = reactor
        self._clock = clock
        self._sink = sink
        self._occupant = occupant
        self._guest = guest
        self._deference = DEFERENCE
        self._answer_timeout = answer_timeout
        self._uniform = uniform
        self._timer: IDelayedCall | None = None
        self._connecting: Deferred[Any] | None = None
        self._remote: RemoteLink | None = None
        self._local: LocalLink | None = None
        self._tries = 0
        self._since = 0.0
        self._complaint = ""
        self._gone: Deferred[None] | None = None
        # Of the hub before.
        self._expected = 0
        self._lost = 0

    def rather_be_a_guest(self) -> None:
        """From now on, leave hosting to others, if there are any."""
        self._guest = True

    def never_be_the_host(self) -> None:
        """From now on, leave hosting to others, and wait for one where there is none."""
        self._guest = True
        self._deference = math.inf

    def begin(self) -> None:
        """
        Look for the hub, for as long as this is open.

        Where nobody is the host, this process is when this returns.
        """
        if self.state is State.IDLE:
            self._start_seeking()
            self._seek()

    def close(self) -> Deferred[None]:
        """
        Let go of the hub.

        @return: fires when this is done.
        """
        if self.state is State.CLOSED:
            return succeed(None)
        self.state = State.CLOSED
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ends: list[Deferred[Any]] = []
        if self._connecting is not None:
            self._connecting.cancel()
        if self._remote is not None:
            self._gone = Deferred()
            ends.append(self._gone)
            self._remote.part()
        if self.host is not None:
            lost = self._local.leave() if self._local is not None else 0
            ends.append(self.host.stop(lost))
            self.host = None
        return gatherResults(ends).addCallback(lambda _: None)

    def forked(self) -> None:
        """Close all that is open, in a child that has it from its parent."""
        if self._remote is not None:
            self._remote.forked()
        if self.host is not None:
            self.host.forked()

    # Seeking

    def _start_seeking(self) -> None:
        self.state = State.SEEKING
        self._tries = 0
        self._since = self._reactor.seconds()

    def _seek(self) -> None:
        self._timer = None
        self._tries += 1
        try:
            self._place.prepare()
            lock = self._place.try_lock() if self._may_host() else None
            if lock is not None:
                self._become_host(lock)
                return
        except LayerUnavailable as error:
            self._complain(str(error))
            self._wait(TROUBLED_WAIT)
            return
        self._connect()

    def _may_host(self) -> bool:
        return not self._guest or self._reactor.seconds() - self._since >= self._deference

    def _wait(self, seconds: float) -> None:
        if self.state is State.SEEKING and self._timer is None:
            self._timer = self._reactor.callLater(seconds, self._seek)

    def _try_again(self) -> None:
        wait = min(FIRST_WAIT * 2 ** min(self._tries, 10), LONGEST_WAIT)
        self._wait(wait * self._uniform(0.5, 1.5))

    def _complain(self, problem: str) -> None:
        """Say it, once for as long as it stays."""
        self._occupant.hub_missing(problem)
        if problem != self._complaint:
            self._complaint = problem
            self._log.warn("No hub for an IPC layer: {problem}", problem=problem)

    # Host

    def _become_host(self, lock: Lock) -> None:
        expected = self._expected - self._occupant.owns_mailboxes()
        host = Host(
            self._place,
            lock,
            self._options,
            self._reactor,
            self._clock,
            expected,
            self._lost,
        )
        host.start()
        self._expected = self._lost = 0
        self.state = State.HOST
        self.host = host
        self._complaint = ""
        self._log.info(
            "This process hosts the hub of the IPC layer at {path}", path=self._place.socket_path
        )
        self._local = host.link(self._sink)
        self._occupant.hub_found(self._local, host.hub.now())

    # Guest

    def _connect(self) -> None:
        path = self._place.socket_path
        endpoint = UNIXClientEndpoint(  # type: ignore[no-untyped-call]
            self._reactor, path, CONNECT_TIMEOUT, checkPID=False
        )
        self._connecting = endpoint.connect(  # type: ignore[no-untyped-call]
            _OneGuest(self._new_link)
        )
        self._connecting.addCallbacks(self._connected, self._not_connected)

    def _new_link(self) -> RemoteLink:
        # Not before: a daemon is another process than the one that made its layer.
        mine = wire.Greeting(os.getpid(), self._options.written(), 0.0)
        return RemoteLink(self._reactor, mine, self._sink, self, self._answer_timeout)

    def _connected(self, link: Any) -> None:
        self._connecting = None
        if self.state is State.CLOSED:
            link.abort()
            return
        self._remote = link
        self._timer = self._reactor.callLater(CONNECT_TIMEOUT, self._no_greeting)

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        if self.state is not State.SEEKING:
            return
        self._occupant.hub_missing(f"its host does not listen: {failure.getErrorMessage()}")
        self._try_again()

    def _no_greeting(self) -> None:
        self._timer = None
        self._complain(f"its host has not greeted in {CONNECT_TIMEOUT:g} s: it is stopped")
        if self._remote is not None:
            self._remote.abort()

    def welcomed(self, link: RemoteLink, greeting: wire.Greeting) -> None:
        """See L{chanserv.layers.ipc.links.Owner}."""
        if self.state is not State.SEEKING:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.state = State.GUEST
        self._expected = self._lost = 0
        self._remote = link
        self._complaint = ""
        self._occupant.hub_found(link, greeting.now)

    def parted(self, link: RemoteLink, parting: Parting) -> None:
        """See L{chanserv.layers.ipc.links.Owner}."""
        self._remote = None
        if self.state is State.CLOSED:
            gone, self._gone = self._gone, None
            if gone is not None:
                gone.callback(None)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.state is State.GUEST:
            self._start_seeking()
            self._expected = parting.roster
            self._lost = parting.load if parting.lost is None else parting.lost
            self._occupant.hub_lost(parting)
            self._wait(FIRST_WAIT * self._uniform(0.0, 1.0))
        elif link.was_refused:
            self._complain(str(parting.reason))
            self._wait(TROUBLED_WAIT)
        else:
            # The host was gone before it could greet.
            self._try_again()
