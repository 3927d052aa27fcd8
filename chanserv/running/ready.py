"""
The line that says that all is ready.

It is for those who wait for it: an operator, systemd, a script, a test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv import __version__
from chanserv.errors import LayerUnavailable

if TYPE_CHECKING:
    from chanserv.service import ChanservService

ASK_AGAIN_AFTER: Final = 1.0
"""Seconds between two looks whether a layer that was away at the start is there
by now: its store may be started at the same time, and nobody should wonder why
the server is not ready."""


class ReadyLine:
    """
    Waits until the endpoints of a service listen, its layer answers, and one of its
    worker processes works, where it has any; then says so.
    """

    _log: ClassVar = Logger(namespace="chanserv")

    def __init__(
        self,
        service: ChanservService,
        summary: str,
        call_later: Callable[..., IDelayedCall],
    ) -> None:
        """
        @param summary: what is served.
        @param call_later: the reactor's C{callLater}.
        """
        self._service = service
        self._summary = summary
        self._call_later = call_later
        self._asking: IDelayedCall | None = None

    def wait(self) -> None:
        """Begin to wait: all has been started."""
        listening = [one.listening for one in self._service.listeners if one.listening]
        gatherResults(listening).addCallback(self._listens).addErrback(self._never_ready)

    def give_up(self) -> None:
        """Wait no more."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    def _listens(self, ports: Sequence[object]) -> None:
        service = self._service
        if len(ports) == len(service.listeners) and None not in ports and not service.quiet:
            # Once the reactor runs, and with it what answers a signal: who hears that
            # all is ready may tell it to stop in the next moment.
            self._asking = self._call_later(0, self._ask_layer)

    def _ask_layer(self, told: bool = False) -> None:
        """
        See whether the layer answers.

        @param told: whether the log has that it does not.
        """

        def failed(failure: Failure) -> None:
            if self._service.running and isinstance(failure.value, LayerUnavailable):
                if not told:
                    self._say_away(failure.getErrorMessage())
                self._asking = self._call_later(ASK_AGAIN_AFTER, self._ask_layer, True)
            else:
                # A layer need not have statistics; what else is wrong with it
                # whoever uses it will say.
                self._answers()

        self._asking = None
        if self._service.running:
            maybeDeferred(self._service.layer.global_statistics).addCallbacks(
                self._answers, failed
            ).addErrback(self._never_ready)

    def _say_away(self, why: str) -> None:
        self._log.warn(
            "The channel layer cannot be reached yet: {why}. chanserv is ready when it can{rest}",
            why=why,
            rest="; requests are answered 503 until then" if self._service.server else "",
        )

    def _answers(self, _: object = None) -> None:
        """The layer answers: all is ready as soon as a worker does."""
        supervisor = self._service.supervisor
        if supervisor is None:
            self._say_ready()
        else:
            working = supervisor.when_working().addCallback(lambda _: self._say_ready())
            working.addErrback(self._never_ready)

    def _say_ready(self) -> None:
        service = self._service
        if service.running:
            places = " and ".join(listener.url for listener in service.listeners)
            self._log.info(
                "chanserv {version} is ready: {summary}{places}",
                version=__version__,
                summary=self._summary,
                places=f", at {places}" if places else ", no interface server",
            )
            service.notices.ready(self._summary)

    def _never_ready(self, failure: Failure) -> None:
        self._log.failure("The ready line failed", failure=failure)
