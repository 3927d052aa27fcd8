"""
What one process serves, put together.

L{make_service} turns a L{Config} into one service with all parts in it: an
interface server and the endpoints it listens on, a team of threads that runs a
site, and the channel layer between them.  Whoever has a config can use it:
the C{twistd} plugin, C{manage.py runserver}, a test.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from types import FrameType
from typing import Any, ClassVar, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from chanserv.interfaces import IChannelLayer
from chanserv.layers.from_spec import make_layer
from chanserv.layers.reach import keeps_a_roll, within_process
from chanserv.layers.redis.server_options import without_secrets
from chanserv.ops.ask import Answers
from chanserv.ops.lookout import Lookout
from chanserv.ops.snapshot import Process
from chanserv.ops.stuck import StuckWatch
from chanserv.ops.systemd import Notices
from chanserv.running.config import Config, OnlyThisProcess
from chanserv.running.front import add_interface_server
from chanserv.running.observing import lookout_of, process_of, tell_of_replacements
from chanserv.running.ready import ReadyLine
from chanserv.running.workers import check_mark, layer_to_supervise, make_supervisor, with_release
from chanserv.server import InterfaceServer
from chanserv.server.access_log import AccessLog
from chanserv.server.listener import Listener
from chanserv.server.open_files import make_room
from chanserv.site import load_site
from chanserv.supervision.supervisor import Supervisor
from chanserv.worker.roll import Roll
from chanserv.worker.team import ThreadTeam

SWITCH_INTERVAL: Final = 0.001
"""Seconds for which a thread that computes may keep the interpreter from the
reactor's thread.  With Python's own 5 ms and four busy views, a client that
needs no view waits 16 ms for its answer (median), with this 5 ms; the views
take no longer, and a fast site loses at most 2 %."""


def make_service(config: Config, reactor: Any) -> ChanservService:
    """
    Put together what C{config} asks for.

    Loads the site, when there is one: call it on the main thread.

    @param reactor: the reactor to run on.
    @raise ConfigurationError: something in C{config}, or the site's settings, is
        wrong; one line.
    """
    config = with_release(config)
    site = None
    if config.workers:
        spec, alias = layer_to_supervise(config), ""
    elif config.settings is None:
        spec, alias = config.layer or "memory:", "default"
    else:
        site = load_site(config.settings)
        spec, alias = site.layer_of(config.layer)
    check_mark(config.layer_mark, spec)
    layer = make_layer(spec, reactor)
    supervisor = make_supervisor(config, spec, layer, reactor) if config.workers else None
    _check_that_somebody_answers(config, layer)
    if not config.listen and hasattr(layer, "rather_be_a_guest"):
        # Workers come and go with each deployment: what all share should not with them.
        layer.rather_be_a_guest()
    service = ChanservService(layer, _summary(config, spec), reactor.callLater)
    service.supervisor = supervisor
    if site is not None and config.threads:
        service.team = site.team(
            alias,
            layer,
            reactor,
            spec=spec,
            threads=config.threads,
            stop_timeout=config.stop_timeout,
            only=config.only_channels,
            exclude=config.exclude_channels,
            narrate=config.narrate,
            static_files=config.static_files,
        )
        if keeps_a_roll(layer) and _serves_clients(service.team):
            service.roll = Roll(layer, reactor)
    if config.listen:
        add_interface_server(service, config, layer, reactor)
    service.process = process_of(service, config, _shown(spec), reactor.callLater)
    service.lookout = lookout_of(service, config, reactor)
    tell_of_replacements(service, _summary(config, spec))
    if keeps_a_roll(layer):
        service.answers = Answers(layer, reactor, service.process)
    return service


def _serves_clients(team: ThreadTeam) -> bool:
    """
    Whether it takes what interface servers send: those that watch for workers
    would wait in vain for one that only does jobs.
    """
    return any(channel.startswith(("http.", "websocket.")) for channel in team.channels)


def _check_that_somebody_answers(config: Config, layer: IChannelLayer) -> None:
    """
    Refuse a layer that no other process reaches with only one side of it in
    this one.

    @raise OnlyThisProcess: it is so.
    """
    if not within_process(layer):
        return
    if config.settings is None or not config.threads:
        missing = "--settings" if config.settings is None else "--threads above 0"
        raise OnlyThisProcess(
            f"without {missing} nobody would answer: a memory layer reaches only this "
            f"process; give {missing}, or a --layer that other processes reach too"
        )
    if not config.listen:
        raise OnlyThisProcess(
            "with --no-listen nobody would ask: a memory layer reaches only this process; "
            "leave --no-listen out, or give a --layer that other processes reach too"
        )
    if config.only_channels or config.exclude_channels:
        option = "--only-channels" if config.only_channels else "--exclude-channels"
        raise OnlyThisProcess(
            f"with {option} nobody would read the other channels: a memory layer reaches only "
            f"this process; leave {option} out, or give a --layer that other processes reach too"
        )


# All of it


class ChanservService(Service):
    """
    All that one process serves.

    It starts the workers before it listens, and stops in the order in which no
    answer is lost: accept nothing more, let the interface server finish with
    its connections, let consumers end what that gave them, close the layer.

    @ivar layer: the channel layer.
    @ivar server: the interface server, or L{None}.
    @ivar team: the threads that run the site, or L{None}.
    @ivar supervisor: what runs worker processes, or L{None}.
    @ivar quiet: whether somebody else speaks for this process: what it serves goes
        without saying then.
    @ivar roll: the place of these threads on the roll of workers, or L{None}.
    @ivar process: what the process is to others.
    @ivar answers: what answers those who ask about it, or L{None}.
    @ivar lookout: the pages of metrics and health, there from the first moment to the
        last; or L{None}.
    @ivar stuck_watch: what says so when none of these threads comes back, or L{None}.
    @ivar log_observer: what C{twistd} is to log with, where that is for us to say.
    @ivar access_log: the access log, or L{None}.
    @ivar call_from_thread: the reactor's C{callFromThread}, where the access log
        is to be opened anew on C{SIGUSR1}; else L{None}.
    @ivar connections: how many connections it is to hold, at most.
    @ivar notices: where systemd is told of the start and the end.
    """

    _log: ClassVar = Logger(namespace="chanserv")

    def __init__(
        self, layer: IChannelLayer, summary: str, call_later: Callable[..., IDelayedCall]
    ) -> None:
        """
        @param summary: what is served, for the start line.
        @param call_later: the reactor's C{callLater}.
        """
        self.layer = layer
        self.server: InterfaceServer | None = None
        self.team: ThreadTeam | None = None
        self.supervisor: Supervisor | None = None
        self.quiet = False
        self.roll: Roll | None = None
        self.process = Process()
        self.answers: Answers | None = None
        self.lookout: Lookout | None = None
        self.stuck_watch: StuckWatch | None = None
        self.log_observer: ILogObserver | None = None
        self.listeners: list[Listener] = []
        self.access_log: AccessLog | None = None
        self.call_from_thread: Callable[..., object] | None = None
        self.connections = 0
        self.notices = Notices()
        self._call_later = call_later
        self._ready_line = ReadyLine(self, summary, call_later)
        self._stopping: Deferred[None] | None = None

    def setServiceParent(self, parent: Any) -> None:
        """
        Become part of an application: C{twistd} makes it, and begins to log only then.
        """
        if self.log_observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self.log_observer)  # type: ignore[no-untyped-call]
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """
        Listen.

        @raise CannotStart: one of the endpoints cannot be had.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        if self.lookout is not None:
            self.lookout.privilegedStartService()
        for listener in self.listeners:
            listener.privilegedStartService()

    def startService(self) -> None:
        """
        Start everything.

        @raise CannotStart: as above, where L{privilegedStartService} was not
            called.
        """
        super().startService()  # type: ignore[no-untyped-call]
        if self.lookout is not None:
            self.lookout.startService()
        self.notices.begin_signs_of_life(self._call_later)
        self._make_room()
        if self.access_log is not None and self.call_from_thread is not None:
            self._follow_rotation(self.access_log.reopen, self.call_from_thread)
        for listener in self.listeners:
            listener.startService()
        if self.supervisor is not None:
            self.supervisor.startService()
        if self.team is not None:
            sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL))
            self.team.startService()
        if self.stuck_watch is not None and not self.quiet:
            self.stuck_watch.startService()
        if self.roll is not None:
            self.roll.join()
        if self.answers is not None:
            self.answers.start()
        if self.server is not None:
            self.server.startService()
        self._ready_line.wait()

    def _follow_rotation(
        self, reopen: Callable[[], None], call_from_thread: Callable[..., object]
    ) -> None:
        """
        Open the access log anew on C{SIGUSR1}, as one tells nginx; after what
        else the process does then, such as C{twistd} with its own log.
        """
        before = signal.getsignal(signal.SIGUSR1)

        def moved_away(number: int, frame: FrameType | None) -> None:
            call_from_thread(reopen)
            if callable(before):
                before(number, frame)

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR1, moved_away)

    def _make_room(self) -> None:
        """Have the system allow as many open files as there may be connections."""
        room = make_room(self.connections)
        if room < self.connections:
            self._log.warn(
                "The system lets this process have no more than some {room} connections open, "
                "where --max-connections is {connections}: raise its hard limit on open files "
                "(LimitNOFILE, ulimit -Hn), or lower that",
                room=room,
                connections=self.connections,
            )

    def stopService(self) -> Deferred[None]:
        """
        Stop everything, in order.

        @return: fires when nothing is left, whichever call this is.
        """
        if self._stopping is None:
            self._stopping = self._stop()
        stopped = Deferred[None]()
        self._stopping.chainDeferred(stopped)
        return stopped

    @inlineCallbacks
    def _stop(self) -> Generator[Deferred[Any], Any, None]:
        super().stopService()  # type: ignore[no-untyped-call]
        if not self.quiet:
            self._log.info("chanserv is stopping")
        self.notices.stopping()
        self._ready_line.give_up()
        if self.stuck_watch is not None:
            self.stuck_watch.stopService()
        if self.team is not None:
            self.team.stop_begins()
        if self.supervisor is not None:
            self.supervisor.stop_begins()
        for step in self._last_steps():
            try:
                yield maybeDeferred(step)
            except Exception:
                # The other parts have something to put in order, too.
                self._log.failure("A part of chanserv did not stop as it should")
        if not self.quiet:
            self._log.info("chanserv has stopped")

    def _last_steps(self) -> Iterator[Callable[[], object]]:
        yield from [listener.stopService for listener in self.listeners]
        if self.server is not None:
            yield self.server.stopService
        if self.roll is not None:
            yield self.roll.leave
        if self.team is not None:
            yield self.team.stopService
        if self.supervisor is not None:
            yield self.supervisor.stopService
        if self.answers is not None:
            # Until now, so that one sees how a long stop gets on.
            yield self.answers.stop
        yield self.layer.close
        if self.access_log is not None:
            yield self.access_log.close
        if self.lookout is not None:
            yield self.lookout.stopService
        yield self.notices.end_signs_of_life


def _summary(config: Config, spec: Any) -> str:
    if config.settings is None:
        return f"no site, layer {_shown(spec)}"
    threads = f"{config.threads} thread{'' if config.threads == 1 else 's'}"
    if config.workers:
        processes = (
            "1 worker process" if config.workers == 1 else f"{config.workers} worker processes"
        )
        threads = f"{processes} of {threads}"
    return f"{config.settings} with {threads}, layer {_shown(spec)}"


def _shown(spec: Any) -> str:
    """A layer as it may be named in the log."""
    return without_secrets(spec if isinstance(spec, str) else str(spec.get("BACKEND", spec)))
