"""
What a process shows of itself, put together: to those who ask over its layer, on the
pages of C{--metrics}, and to systemd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool

from chanserv.layers.reach import keeps_a_roll
from chanserv.ops.lookout import Lookout
from chanserv.ops.snapshot import Process
from chanserv.ops.stuck import StuckWatch
from chanserv.running.config import Config
from chanserv.worker.status import WorkerStatus

if TYPE_CHECKING:
    from chanserv.service import ChanservService


def process_of(
    service: ChanservService,
    config: Config,
    layer: str,
    call_later: Callable[..., IDelayedCall],
) -> Process:
    """
    Where to look to know how the process is that runs C{service}; and what looks
    whether its own threads, if it has any, get stuck.

    @param layer: its layer, without secrets.
    @param call_later: the reactor's C{callLater}.
    """
    process = Process(release=config.release, layer=layer)
    server, team, supervisor = service.server, service.team, service.supervisor
    if server is not None:
        process.counts = lambda: server.counts
        process.mailbox = server.mailbox
    if team is not None:

        def look() -> WorkerStatus:
            return team.status(release=config.release).judged(config.stuck_after)

        process.workers = lambda: [look()]
        service.stuck_watch = StuckWatch(look, call_later)
    if supervisor is not None:
        process.workers = supervisor.statuses
        process.past = supervisor.past.statuses
    return process


def lookout_of(service: ChanservService, config: Config, reactor: Any) -> Lookout | None:
    """
    What serves the pages of C{--metrics}; L{None} where nobody wants them.

    @raise ConfigurationError: its endpoint is none, or a library is missing.
    """
    if config.metrics is None:
        return None

    def present() -> bool | None:
        if service.server is None:
            return None
        found = service.server.workers_present
        # All workers that could be there stand on a roll, where there is one.
        return bool(found) if keeps_a_roll(service.layer) else found

    def aside(call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), call, *args)

    return Lookout(
        config.metrics,
        service.layer,
        reactor,
        service.process,
        serving=lambda: bool(service.running),
        present=present,
        aside=aside,
    )


def tell_of_replacements(service: ChanservService, summary: str) -> None:
    """
    Have systemd know while workers are replaced.

    @param summary: what it is told otherwise.
    """
    supervisor = service.supervisor
    if supervisor is None:
        return

    def replaced(succeeded: bool) -> None:
        failed = "" if succeeded else "; the last replacement of workers failed, see the log"
        # One that a stop has given up is nothing to be ready after.
        if service.running:
            service.notices.ready(summary + failed)

    supervisor.on_replacing = lambda: service.notices.reloading("replacing workers")
    supervisor.on_replaced = replaced
