"""
What a process tells systemd about itself: that it is ready, that it replaces its
workers, that it ends, and all the while that its reactor turns.

A unit of C{Type=notify} has started when its process says so, and units after it
wait for that; C{systemctl reload} of a unit of C{Type=notify-reload} waits for the new
workers; with C{WatchdogSec=} a process that hangs is killed and started again.  The
words are the lines of C{sd_notify(3)}, in one datagram to the socket that the
environment names; nothing else is needed of systemd.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import ClassVar

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger


class Notices:
    """
    Where systemd hears of this process; nowhere, where it does not listen.
    """

    _log: ClassVar = Logger(namespace="chanserv")

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        """
        @param address: the path of systemd's socket, or its abstract name behind
            an C{@}; empty for none.
        @param watchdog: seconds without a sign of life after which systemd takes this
            process for hanging; 0 for never.
        """
        self._address = address
        self._watchdog = watchdog
        self._next: IDelayedCall | None = None

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Notices:
        """
        Take the address out of the environment, so that no child of this process
        speaks in its name; and how often systemd wants to hear from it.
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        process = environment.pop("WATCHDOG_PID", "") or str(os.getpid())
        asked = microseconds.isdecimal() and process == str(os.getpid())
        return cls(address, int(microseconds) / 1e6 if asked else 0.0)

    def ready(self, status: str) -> None:
        """
        Say that this process serves.

        @param status: a line for C{systemctl status}.
        """
        self._say(f"READY=1\nSTATUS={_line(status)}")

    def reloading(self, status: str) -> None:
        """
        Say that it has begun to replace its workers; L{ready} is for the end of that.

        @param status: as with L{ready}.
        """
        # By the clock that systemd compares with.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._say(f"RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS={_line(status)}")

    def begin_signs_of_life(self, call_later: Callable[..., IDelayedCall]) -> None:
        """
        Give systemd's watchdog a sign of life as often as it wants, from the reactor, so
        that there is none where that hangs.

        @param call_later: the reactor's C{callLater}.
        """
        if self._watchdog and self._address:
            self._say("WATCHDOG=1")
            # Half the time, as sd_watchdog_enabled(3) recommends.
            self._next = call_later(self._watchdog / 2, self.begin_signs_of_life, call_later)

    def end_signs_of_life(self) -> None:
        """Give none any more."""
        if self._next is not None and self._next.active():
            self._next.cancel()

    def stopping(self) -> None:
        """Say that it has begun to end."""
        self._say("STOPPING=1\nSTATUS=stopping")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto(text.encode(), address)
        except OSError as error:
            self._log.warn(
                "systemd does not hear of this process: NOTIFY_SOCKET={address}: {error}",
                address=self._address,
                error=error.strerror or error,
            )


def _line(text: str) -> str:
    return " ".join(text.split())
