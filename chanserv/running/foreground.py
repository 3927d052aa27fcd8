"""
A process that serves in the foreground until it is told to stop: the part that
C{twistd} plays, for programs that are not it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import IO, TYPE_CHECKING, Any, NoReturn

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from chanserv.ops.systemd import Notices
from chanserv.running.workers import heed_hangups

if TYPE_CHECKING:
    from chanserv.service import ChanservService


def log_to(stream: IO[str], level: LogLevel = LogLevel.info) -> None:
    """
    Write what this process logs to C{stream}, in the form that C{twistd} gives it.

    @param level: the least that is written.
    """
    observer = FilteringLogObserver(textFileLogObserver(stream), [LogLevelFilterPredicate(level)])
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)


def run(service: ChanservService, reactor: Any) -> None:
    """
    Run C{service} on the main thread, until Ctrl-C or C{SIGTERM}; then stop it in
    order, and return.

    @raise CannotStart: an endpoint cannot be had.
    """
    service.notices = Notices.from_environment(os.environ)
    service.privilegedStartService()
    service.startService()
    heed_hangups(service.supervisor, reactor.callFromThread)
    reactor.addSystemEventTrigger("before", "shutdown", heed_further_signals)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


def heed_further_signals() -> None:
    """
    While chanserv stops, let Ctrl-C end it at once, and SIGTERM change nothing.

    Twisted would answer both with a traceback: it is stopping already.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, _end_now)


def _end_now(number: int, frame: object) -> NoReturn:
    sys.stderr.write("chanserv: ended before it had stopped\n")
    sys.stderr.flush()
    os._exit(128 + number)
