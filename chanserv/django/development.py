"""
The development server behind C{manage.py runserver}.

Django's command makes a server of a class, gives it an application, and calls
C{serve_forever}.  L{ReactorServer} is such a class: it binds the port when it is
made, so that errors are Django's to tell, and then runs the reactor in whichever
thread it is called on.

What it serves is one of two things: a L{WholeSite}, all in this process; or a
L{Front}, where connections end in this process and a worker process runs the site,
to be replaced whenever its code changes.
"""

from __future__ import annotations

import atexit
import logging
import math
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlencode

from django.conf import settings
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.logger import Logger

from chanserv.core.capacity import rule_pairs
from chanserv.django.application import DjangoApplication
from chanserv.django.console import show_warnings
from chanserv.django.layers import channel_layers
from chanserv.layers.blocking import face_of
from chanserv.layers.from_spec import make_layer
from chanserv.layers.reach import keeps_a_roll, within_process
from chanserv.layers.url_options import SINGLE
from chanserv.running.config import Config
from chanserv.running.foreground import heed_further_signals
from chanserv.running.workers import make_supervisor
from chanserv.server import InterfaceServer
from chanserv.server.access_log import AccessLog, quoted
from chanserv.server.endpoints import LISTEN_BACKLOG
from chanserv.server.limits import Limits
from chanserv.server.listener import Listener
from chanserv.service import ChanservService
from chanserv.supervision.supervisor import child_command
from chanserv.supervision.worker_process import CHILD_FDS
from chanserv.worker.roll import Roll
from chanserv.worker.team import ThreadTeam

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from chanserv.interfaces import IChannelLayer

_log: Final = Logger(namespace="chanserv.django")

STOP_TIMEOUT: Final = 2.0
"""Seconds that Ctrl-C waits for consumers: whoever develops wants the prompt."""

WORKER_MODULE: Final = "chanserv.django.development_worker"
"""What a worker process runs."""

WITH_THE_TERMINAL: Final = {**CHILD_FDS, 0: 0, 1: 1, 2: 2}
"""The descriptors of a worker process: what the site prints goes where what this
process prints does, in its own colours, and a debugger may ask whoever sits there."""

LIMITS: Final = Limits(drain=0.0, drain_timeout=STOP_TIMEOUT)
"""Those of the interface server: Ctrl-C waits for nobody's idle connection."""

_LOWEST_CLOSE_CODE: Final = 1000


class Development(Protocol):
    """What the development server is to serve."""

    def service(self, reactor: Any, listening: socket.socket) -> ChanservService:
        """
        Put together what is served on a socket that listens.

        @raise ConfigurationError: the settings are wrong.
        """


@dataclass(frozen=True)
class WholeSite:
    """
    Connections, and threads that run the site, or perhaps none.

    @ivar alias: the channel layer, in C{CHANNEL_LAYERS}.
    @ivar threads: how many consumers run at once; 0 for no workers.
    @ivar static_files: whether to serve static files.
    """

    alias: str
    threads: int
    static_files: bool

    def service(self, reactor: Any, listening: socket.socket) -> ChanservService:
        """See L{Development}."""
        layer = make_layer(channel_layers[self.alias].settings.spec, reactor)
        service = ChanservService(layer, "a site in development", reactor.callLater)
        if self.threads:
            channel_layers.attach(self.alias, face_of(layer, reactor))
            application = DjangoApplication(self.alias, static_files=self.static_files)
            service.team = ThreadTeam(
                layer,
                application,
                reactor,
                self.threads,
                alone=within_process(layer),
                stop_timeout=STOP_TIMEOUT,
            )
            if keeps_a_roll(layer):
                service.roll = Roll(layer, reactor)
        _add_interface_server(service, layer, reactor, listening)
        return service


@dataclass(frozen=True)
class Front:
    """
    Connections alone; a worker process runs the site.

    @ivar alias: the channel layer, in C{CHANNEL_LAYERS}.
    @ivar threads: how many consumers run at once.
    @ivar command: what tells the worker process of the command and its options; in
        plain values.
    @ivar works: called when the first worker takes messages, with the URL of the layer
        where that is not the site's own.
    @ivar replaced: called when another has taken over.
    @ivar broken: called when one cannot load the site, with whether another is at work.
    """

    alias: str
    threads: int
    command: Mapping[str, Any]
    works: Callable[[str | None], object]
    replaced: Callable[[], object]
    broken: Callable[[bool], object]

    def service(self, reactor: Any, listening: socket.socket) -> ChanservService:
        """See L{Development}."""
        spec: Any = channel_layers[self.alias].settings.spec
        layer = make_layer(spec, reactor)
        private = None
        if within_process(layer):
            private = spec = self._private_layer()
            layer = make_layer(spec, reactor)
        service = ChanservService(layer, "a site in development", reactor.callLater)
        supervisor = service.supervisor = make_supervisor(
            Config(
                settings=settings.SETTINGS_MODULE,
                layer=private or self.alias,
                threads=self.threads,
                stop_timeout=STOP_TIMEOUT,
                workers=1,
                # Whoever debugs it stops its threads for as long as that takes.
                stuck_after=math.inf,
                reload=True,
            ),
            spec,
            layer,
            reactor,
            also={"command": self.command},
            command=child_command(WORKER_MODULE),
            child_fds=WITH_THE_TERMINAL,
        )
        supervisor.heard["broken"] = lambda *_: self.broken(supervisor.crew.working > 0)
        supervisor.on_replaced = lambda well: self.replaced() if well else None
        supervisor.when_working().addCallback(lambda _: self.works(private)).addErrback(
            lambda failure: _log.failure("It cannot be said that all is ready", failure)
        )
        _add_interface_server(service, layer, reactor, listening)
        return service

    def _private_layer(self) -> str:
        """
        The URL of an IPC layer for this run alone, with the capacities and times of
        the layer in memory that it stands for.
        """
        folder = tempfile.mkdtemp(prefix="chanserv-runserver-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        config = channel_layers[self.alias].settings.config
        query = [(name, config[name]) for name in SINGLE if name in config]
        for option, values in (
            ("channel_capacity", rule_pairs(config.get("channel_capacity"))),
            ("redeliver", ((one, None) for one in config.get("redeliver") or ())),
        ):
            for pattern, count in values:
                # A URL has no place for a regular expression.
                if not isinstance(pattern, re.Pattern):
                    query.append((option, pattern if count is None else f"{pattern}:{count}"))
        return f"ipc:runserver?{urlencode([('directory', folder), *query])}"


def _add_interface_server(
    service: ChanservService, layer: IChannelLayer, reactor: Any, listening: socket.socket
) -> None:
    service.access_log = DevelopmentLog(sys.stderr, reactor)
    service.server = InterfaceServer(
        layer,
        reactor,
        limits=LIMITS,
        access_log=service.access_log,
        watch_workers=keeps_a_roll(layer),
    )
    family = listening.family
    endpoint = AdoptedStreamServerEndpoint(reactor, listening.detach(), family)  # type: ignore[no-untyped-call]
    service.listeners.append(Listener("tcp:", service.server.factory, reactor, endpoint))


class ReactorServer:
    """
    A server for Django's C{runserver}, made and used as it does with its own.

    @ivar server_port: the port that it is bound to.
    """

    def __init__(
        self, address: tuple[str, int], request_class: object, ipv6: bool = False, **kwargs: Any
    ) -> None:
        """
        Bind a port.

        @param address: host and port.
        @param request_class: not used.
        @raise OSError: the port cannot be had.
        """
        bound = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(LISTEN_BACKLOG)
            bound.setblocking(False)
        except OSError:
            bound.close()
            raise
        self._socket = bound
        self.server_port: int = bound.getsockname()[1]
        self._development: Development | None = None

    def set_app(self, development: Development) -> None:
        """Say what to serve."""
        self._development = development

    def serve_forever(self) -> None:
        """
        Serve, until the process ends or is told to.

        @raise KeyboardInterrupt: it was told to, by a signal.  On another
            thread than the main one there are no signals.
        """
        from twisted.internet import reactor

        assert self._development is not None
        running: Any = reactor
        show_warnings()
        service = self._development.service(running, self._socket)
        service.startService()
        running.addSystemEventTrigger("before", "shutdown", service.stopService)
        on_main_thread = threading.current_thread() is threading.main_thread()
        if on_main_thread:
            _end_with_the_terminal(running)
            running.addSystemEventTrigger("before", "shutdown", heed_further_signals)
        running.run(installSignalHandlers=on_main_thread)
        if on_main_thread:
            raise KeyboardInterrupt


def _end_with_the_terminal(reactor: Any) -> None:
    """Stop in order when the terminal is closed, too."""

    def closed(number: int, frame: object) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        reactor.callFromThread(reactor.stop)

    signal.signal(signal.SIGHUP, closed)


class DevelopmentLog(AccessLog):
    """
    The access log in the look of Django's C{runserver}, by its logger.

    A site's C{LOGGING} finds it under the name that it has there too.
    """

    _logger = logging.getLogger("django.server")

    def __init__(self, target: IO[str], clock: IReactorTime) -> None:
        super().__init__(target, clock)

    def add(
        self,
        client: str,
        request_line: bytes,
        status: int,
        length: int | None,
        referer: bytes = b"-",
        agent: bytes = b"-",
        request_id: bytes = b"",
    ) -> None:
        """Log one response, or the end of a WebSocket."""
        line = quoted(request_line)
        extra = {
            "server_time": _now(),
            "status_code": status,
            "request_id": request_id.decode("ascii"),
        }
        if status >= _LOWEST_CLOSE_CODE:
            self._logger.info("%s %s", line, status, extra={**extra, "status_code": 200})
            return
        level = logging.INFO
        if status >= 400:
            level = logging.ERROR if status >= 500 else logging.WARNING
        self._logger.log(level, '"%s" %s %s', line, status, length or 0, extra=extra)


def _now() -> str:
    return datetime.now().strftime("%d/%b/%Y %H:%M:%S")
