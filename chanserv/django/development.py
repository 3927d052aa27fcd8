"""
The development server behind C{manage.py runserver}.

Django's command does the checks, the messages and the reloading; it makes a
server of a class, gives it an application, and calls C{serve_forever}.
L{ReactorServer} is such a class: it binds the port when it is made, so that
errors are Django's to tell, and then runs the reactor in whichever thread it is
called on.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Final

from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    STDLibLogObserver,
    globalLogBeginner,
)

from chanserv.django.application import DjangoApplication
from chanserv.django.layers import channel_layers
from chanserv.layers.blocking import face_of
from chanserv.layers.from_spec import make_layer
from chanserv.layers.reach import within_process
from chanserv.server import InterfaceServer
from chanserv.server.access_log import AccessLog, quoted
from chanserv.server.endpoints import LISTEN_BACKLOG
from chanserv.server.listener import Listener
from chanserv.service import ChanservService
from chanserv.worker.team import ThreadTeam

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

STOP_TIMEOUT: Final = 2.0
"""Seconds that Ctrl-C waits for consumers: whoever develops wants the prompt."""

_LOWEST_CLOSE_CODE: Final = 1000


@dataclass(frozen=True)
class Development:
    """
    What the development server is to serve.

    @ivar alias: the channel layer, in C{CHANNEL_LAYERS}.
    @ivar threads: how many consumers run at once; 0 for no workers.
    @ivar static_files: whether to serve static files.
    """

    alias: str
    threads: int
    static_files: bool

    def service(self, reactor: Any, listening: socket.socket) -> ChanservService:
        """
        Put together what is served on a socket that listens.

        @raise ConfigurationError: the settings are wrong.
        """
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
        service.access_log = DevelopmentLog(sys.stderr, reactor)
        service.server = InterfaceServer(layer, reactor, access_log=service.access_log)
        family = listening.family
        endpoint = AdoptedStreamServerEndpoint(reactor, listening.detach(), family)  # type: ignore[no-untyped-call]
        service.listeners.append(Listener("tcp:", service.server.factory, reactor, endpoint))
        return service


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
        running.run(installSignalHandlers=on_main_thread)
        if on_main_thread:
            raise KeyboardInterrupt


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


def show_warnings() -> None:
    """
    Pass on what is logged in this process, from warnings up, to Python's
    C{logging} under C{chanserv}; to standard error, where the site's C{LOGGING}
    has no other place for it.
    """
    logger = logging.getLogger("chanserv")
    if not logger.hasHandlers():
        shown = logging.StreamHandler()
        shown.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(shown)
    observer = FilteringLogObserver(
        STDLibLogObserver("chanserv"), [LogLevelFilterPredicate(LogLevel.warn)]
    )
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)


def _now() -> str:
    return datetime.now().strftime("%d/%b/%Y %H:%M:%S")
