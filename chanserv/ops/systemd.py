"""
What a process tells systemd about itself: that it is ready, and that it ends.

A unit of C{Type=notify} has started when its process says so, and units after it
wait for that.  The words are the lines of C{sd_notify(3)}, in one datagram to the
socket that the environment names; nothing else is needed of systemd.
"""

from __future__ import annotations

import socket
from collections.abc import MutableMapping
from typing import ClassVar

from twisted.logger import Logger


class Notices:
    """
    Where systemd hears of this process; nowhere, where it does not listen.
    """

    _log: ClassVar = Logger(namespace="chanserv")

    def __init__(self, address: str = "") -> None:
        """
        @param address: the path of systemd's socket, or its abstract name behind
            an C{@}; empty for none.
        """
        self._address = address

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Notices:
        """
        Take the address out of the environment, so that no child of this process
        speaks in its name.
        """
        return cls(environment.pop("NOTIFY_SOCKET", ""))

    def ready(self, status: str) -> None:
        """
        Say that this process serves.

        @param status: a line for C{systemctl status}.
        """
        self._say(f"READY=1\nSTATUS={_line(status)}")

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
