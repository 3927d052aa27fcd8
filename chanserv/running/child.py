"""
What a worker process runs: C{python -m chanserv.running.child}, started by a
L{Supervisor<chanserv.supervision.supervisor.Supervisor>} and by nobody else.

It loads the site, says so, and takes messages when it is told to.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
)

from chanserv.errors import ConfigurationError
from chanserv.supervision.child_link import ChildLink, Gone, Telling
from chanserv.supervision.worker_process import DOWN, UP

if TYPE_CHECKING:
    from chanserv.running.config import Config
    from chanserv.service import ChanservService

BEAT: Final = 1.0
"""Seconds between two signs of life: what is shown of workers is as old at most."""

UNHEARD: Final = 5.0
"""Seconds after which a worker that got a C{SIGTERM} drains unless its supervisor has
said that it should wait."""

LAYER_PATIENCE: Final = 5.0
"""Seconds after which a worker counts as running whose layer has not answered yet: it
takes messages when that does, and others cannot do more."""

_FOR_SERVERS: Final = frozenset(
    {
        "access_log",
        "limits",
        "listen",
        "metrics",
        "proxy_headers",
        "proxy_headers_host",
        "proxy_headers_port",
        "release_from",
        "reload",
        "replace_stuck",
        "request_ids",
        "server_name",
        "trusted_proxies",
        "workers",
    }
)
"""Fields of a L{Config} that a worker has no use for."""

_log: Final = Logger(namespace="chanserv.child")


def orders(config: Config, layer: str = "") -> dict[str, Any]:
    """
    What of C{config} a worker is told, in plain values.

    @param layer: the mark of the layer that its supervisor uses; see L{layer_mark}.
    """
    told = {
        one.name: getattr(config, one.name)
        for one in fields(config)
        if one.name not in _FOR_SERVERS
    }
    return {**told, "layer_mark": layer, "watch": config.reload}


def config_of(told: Mapping[str, Any]) -> Config:
    """The config that C{told} is of."""
    from chanserv.running.config import Config

    known = {one.name for one in fields(Config)} - _FOR_SERVERS
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in told.items()
        if name in known
    }
    return Config(**values, listen=())


def main(kind: Callable[[ChildLink, Mapping[str, Any]], Worker] | None = None) -> int:
    """
    Run a worker, until it is told to end.

    @param kind: makes it; L{Worker} without it.
    @return: the exit code.
    """
    kind = kind or Worker
    # Ctrl-C in a terminal is for the supervisor, which then says what is to be done.
    # It is heard and left, not ignored: what the site starts would ignore it, too.
    signal.signal(signal.SIGINT, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        link = ChildLink(DOWN, UP)
        told = link.first()
    except (OSError, Gone) as error:
        sys.stderr.write(f"this is what 'twistd chanserv --workers=N' starts by itself: {error}\n")
        return 2
    return kind(link, told).run()


def _leave(number: int, frame: object) -> None:
    pass


class Worker:
    """One worker process."""

    def __init__(self, link: ChildLink, told: Mapping[str, Any]) -> None:
        """
        @param told: the first message of the supervisor.
        """
        self._link = link
        self._told_first = told
        self._orders: Mapping[str, Any] = told.get("orders", {})
        self._config = config_of(self._orders)
        self._service: ChanservService | None = None
        self._reactor: Any = None
        self._ending = False
        self._drains = False
        self._waits = False

    def run(self) -> int:
        """Load the site, and serve; return the exit code."""
        config = self._config
        self._link.start(self._told, config.stop_timeout)
        self._begin_log()
        for stream in (sys.stdout, sys.stderr):
            # What a site prints is seen when it does, and not a block later.
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        signal.signal(signal.SIGTERM, self._terminated)
        try:
            self._load(config)
        except ConfigurationError as error:
            if self._orders.get("watch"):
                self._wait_for_a_change(error)
            self._link.say({"failed": str(error)})
            self._link.end()
            return 1
        if self._orders.get("watch"):
            self._watch()
        self._serve()
        self._link.end()
        return 0

    def _begin_log(self) -> None:
        """Have the supervisor write what is logged here."""
        # That its reactor runs, or does not, is its own affair.
        levels = LogLevelFilterPredicate(LogLevel.debug)
        levels.setLogLevelForNamespace("twisted.internet.base", LogLevel.warn)
        telling = FilteringLogObserver(Telling(self._link), [levels])
        globalLogBeginner.beginLoggingTo([telling], redirectStandardIO=False)

    def _load(self, config: Config) -> None:
        find_code(self._told_first)
        from twisted.internet import reactor

        from chanserv.service import make_service

        self._reactor = reactor
        service = make_service(replace(config, workers=0), reactor)
        service.quiet = True
        if hasattr(service.layer, "never_be_the_host"):
            # The supervisor is there for as long as this worker, and longer.
            service.layer.never_be_the_host()
        service.answers = None
        if service.roll is not None:
            self._link.say({"roll": service.roll.channel})
        self._service = service

    def _serve(self) -> None:
        assert self._service is not None
        reactor = self._reactor
        reactor.addSystemEventTrigger("before", "shutdown", self._service.stopService)
        if self._ending:
            return
        reactor.callWhenRunning(self._link.say, {"state": "loaded"})
        reactor.callWhenRunning(self._beat)
        reactor.run(installSignalHandlers=False)
        # What it has done since the last beat counts, too.
        self._say_how_it_is(needed=True)

    def _beat(self) -> None:
        self._say_how_it_is(needed=False)
        self._reactor.callLater(BEAT, self._beat)

    def _say_how_it_is(self, needed: bool) -> None:
        assert self._service is not None
        if self._service.team is not None:
            self._link.say({"beat": self._service.team.status().as_dict()}, needed=needed)

    # Where the site's files are watched

    def _watch(self, error: BaseException | None = None) -> None:
        """
        Tell the supervisor of files that change.

        @param error: why the site could not be loaded.
        """
        from chanserv.django.reloading import Watch

        Watch(lambda path, when: self._link.say({"changed": [path, when]})).begin(error)

    def _wait_for_a_change(self, error: ConfigurationError) -> NoReturn:
        """
        Watch the files that C{error} came through, until the supervisor ends this
        process: which it does when one of them has changed.
        """
        self._watch(error)
        self._say_broken(error)
        while True:
            signal.pause()

    def _say_broken(self, error: ConfigurationError) -> None:
        """Say that the site cannot be loaded as it is now."""
        _log.error("{error}. The next change of a file tries again", error=str(error))

    # What it is told

    def _told(self, what: str) -> None:
        """Hear the supervisor; on the thread that reads."""
        if what in ("drain", "finish") and self._service is None:
            # It has taken nothing, and who knows how long it would still load.
            os._exit(0)
        if what == "wait":
            self._waits = True
        elif what in ("drain", "finish"):
            self._ending = True
            within = self._config.stop_timeout if what == "drain" else self._config.finish_timeout
            self._reactor.callFromThread(self._drain, within)
        elif what == "go":
            self._reactor.callFromThread(self._go)

    def _go(self) -> None:
        assert self._service is not None
        if self._ending:
            return
        self._service.startService()
        # When that has come back, the layer also knows that this worker is on its roll,
        # and those whose place it takes may leave it.
        asked: Deferred[Any] = maybeDeferred(self._service.layer.global_statistics)
        asked.addTimeout(LAYER_PATIENCE, self._reactor)
        asked.addBoth(lambda _: self._link.say({"state": "running"}))

    def _drain(self, within: float) -> None:
        if self._service is not None and self._service.team is not None:
            self._service.team.stop_within(within)
        if not self._drains:
            self._drains = True
            self._reactor.stop()

    # Its own signal

    def _terminated(self, number: int, frame: object) -> None:
        """
        Ask the supervisor what a C{SIGTERM} means.

        Where a whole group of processes got it, connections come to their end
        first, and workers are needed for that.
        """
        self._link.say({"asked": "drain"})
        if self._reactor is not None:
            self._reactor.callFromThread(
                self._reactor.callLater, UNHEARD, self._drain_unless_told_to_wait
            )

    def _drain_unless_told_to_wait(self) -> None:
        if not self._waits:
            self._told("drain")


def find_code(told: Mapping[str, Any]) -> None:
    """
    Go where the supervisor says, and look for code where it does.

    @raise ConfigurationError: there is no such directory.
    """
    folder = told.get("folder")
    # Python put it there for "-m"; it may be that of an older release.
    here = sys.path[0] if sys.path else ""
    if folder:
        try:
            os.chdir(folder)
        except OSError as error:
            raise ConfigurationError(f"{folder}: {error.strerror}") from error
    path = [str(one) for one in told.get("path", ())]
    if here not in path:
        sys.path.remove(here)
    sys.path[:0] = [one for one in path if one not in sys.path]


if __name__ == "__main__":
    # What the site has for the end of its process comes after this; if that hangs, the
    # supervisor ends it.
    sys.exit(main())
