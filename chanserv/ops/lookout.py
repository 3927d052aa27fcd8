"""
All that C{--metrics} asks for, as one service.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, ClassVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, inlineCallbacks, succeed
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure

from chanserv.errors import ConfigurationError
from chanserv.interfaces import IChannelLayer
from chanserv.ops.glance import Glance, glance_at
from chanserv.ops.health import Readiness
from chanserv.ops.log_events import LogEvents
from chanserv.ops.pages import Pages, PagesFactory
from chanserv.ops.pulse import Pulse
from chanserv.ops.snapshot import Process
from chanserv.server.listener import Listener


class Lookout(Service):
    """
    Shows how a process is to those who look after it.

    Start it before all else and stop it last: it is there to be asked while the rest
    starts and drains.

    @ivar listener: where it is asked.
    """

    _log: ClassVar = Logger(namespace="chanserv")

    def __init__(
        self,
        description: str,
        layer: IChannelLayer,
        reactor: Any,
        process: Process,
        *,
        serving: Callable[[], bool],
        present: Callable[[], bool | None],
        aside: Callable[..., Deferred[Any]],
    ) -> None:
        """
        @param description: a Twisted endpoint string.
        @param process: where the numbers come from.
        @param serving: see L{Readiness}; so is C{present}.
        @param aside: calls a function with its arguments where that keeps the reactor
            from nothing, and gives what it returns: a page of many consumers takes some
            tenths of a second to write.
        @raise ConfigurationError: C{description} is no endpoint, or a library is missing.
        """
        try:
            from chanserv.ops import metrics
        except ModuleNotFoundError as error:
            if error.name != "prometheus_client":
                raise
            raise ConfigurationError(
                f"--metrics={description} needs prometheus-client, which is not installed "
                f"here: pip install 'chanserv[metrics]'"
            ) from error
        self._page, self._facts = metrics.page, metrics.Facts
        self._process = process
        self._layer = layer
        self._reactor = reactor
        self._aside = aside
        # Others need those threads, too.
        self._one_at_a_time = DeferredLock()
        self._looking: list[Deferred[Glance]] = []
        self._pulse = Pulse(layer, reactor)
        self._log_events = LogEvents()
        self._readiness = Readiness(self._pulse, serving, lambda: process.now().workers, present)
        pages = Pages(self._metrics, self._readiness.reasons)
        self._factory = PagesFactory(pages, reactor)
        self.listener = Listener(description, self._factory, reactor, option="--metrics")

    def privilegedStartService(self) -> None:
        """
        Listen.

        @raise CannotStart: that cannot be done.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self.listener.privilegedStartService()

    def startService(self) -> None:
        """
        Begin to look.

        @raise CannotStart: as above, where L{privilegedStartService} was not called.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self.listener.startService()
        if self.listener.listening is not None:
            self.listener.listening.addCallback(self._listens)
        globalLogPublisher.addObserver(self._log_events)
        self._pulse.startService()

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Answer nobody any more.  Fires when that is so."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._pulse.stopService()
        globalLogPublisher.removeObserver(self._log_events)
        yield self.listener.stopService()
        self._factory.close()

    def _listens(self, port: object) -> object:
        if port is not None:
            self._log.info("Metrics and health: {place}", place=self.listener.url)
        return port

    @inlineCallbacks
    def _metrics(self, accept: str) -> Generator[Deferred[Any], Any, tuple[bytes, str]]:
        reasons = yield self._readiness.reasons()
        glance = yield self._glance()
        facts = self._facts(
            snapshot=self._process.now(),
            glance=glance,
            ready=not reasons,
            layer_answers=not self._pulse.problem,
            round_trips=self._pulse.round_trips.copy(),
            log_events=dict(self._log_events.by_level),
        )
        page = yield self._one_at_a_time.run(self._aside, self._page, facts, accept)
        return page  # type: ignore[no-any-return]

    def _glance(self) -> Deferred[Glance]:
        """Look at the layer, once for all who want to know at the same time."""
        if self._pulse.problem:
            return succeed(Glance(problem=self._pulse.problem))
        looking = Deferred[Glance]()
        self._looking.append(looking)
        if len(self._looking) == 1:
            channels = [*self._process.now().channels, self._process.mailbox]
            glance_at(self._layer, filter(None, channels), self._reactor).addBoth(self._seen)
        return looking

    def _seen(self, glance: Glance | Failure) -> None:
        looking, self._looking = self._looking, []
        for one in looking:
            one.callback(glance)
