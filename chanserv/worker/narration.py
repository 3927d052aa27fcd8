"""Workers that say what they run, for whoever looks over their shoulder."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from twisted.logger import Logger
from zope.interface import implementer

from chanserv.interfaces import IApplication

if TYPE_CHECKING:
    from chanserv.worker.outbox import Outbox


@implementer(IApplication)
class Narrated:
    """An application, of which each run has a line in the log."""

    _log: ClassVar = Logger(namespace="chanserv.worker")

    def __init__(
        self, application: IApplication, seconds: Callable[[], float] = time.perf_counter
    ) -> None:
        """
        @param seconds: a clock; called in the threads that run consumers.
        """
        self._application = application
        self._seconds = seconds

    def channel_names(self) -> frozenset[str]:
        """See L{IApplication.channel_names}."""
        return self._application.channel_names()

    def ignored_channels(self) -> frozenset[str]:
        """See L{IApplication.ignored_channels}."""
        return self._application.ignored_channels()

    def run(self, channel: str, message: dict[str, object], outbox: Outbox) -> None:
        """
        Run the consumer of one message, and say so when it has ended.

        What it raised is only named: the team logs the rest.
        """
        # The consumer may change the message.
        reply_channel = message.get("reply_channel")
        begun = self._seconds()
        raised = ""
        try:
            self._application.run(channel, message, outbox)
        except BaseException as error:
            raised = f" raised {type(error).__name__}"
            raise
        finally:
            self._log.info(
                "{channel}: {consumer}{raised}, {milliseconds:.1f} ms{reply}",
                channel=channel,
                consumer=outbox.consumer or "no consumer",
                raised=raised,
                milliseconds=(self._seconds() - begun) * 1000,
                reply=f", for {reply_channel}" if reply_channel else "",
                reply_channel=reply_channel,
            )
