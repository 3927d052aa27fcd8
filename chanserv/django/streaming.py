"""
Sending a response in parts, no faster than its client takes them.

Each part is sent with a receipt, which the interface server gives when the
connection is ready for more.  Only so many parts may be without one: a slow
client holds up its own stream, in its own worker thread, and nobody's memory.
A receipt that says I{lost} or I{expired} means that the client is gone.

Receipts wait for their reader no longer than other messages.  A stream whose
parts are so rare that some may have expired counts anew, and gives the client of
each part a moment to show by its receipt that it is still there.

Over a layer that gives no receipts, the capacity of the reply channel is what
holds the stream up: a full one is tried again after a short wait.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

from chanserv.errors import ChannelFull, ClientDisconnected
from chanserv.messages import Message, Outcome

if TYPE_CHECKING:
    from chanserv.interfaces import IBlockingChannelLayer

STREAM_WINDOW: Final = 8
"""How many parts may be on their way: enough that the next is made while the
last is written; at 512 KiB each, 4 MiB for one slow client."""

STREAM_PATIENCE: Final = 600.0
"""Seconds without any progress after which a stream is given up.  The interface
server ends connections that are idle; this is for when it is gone itself."""

LOOK_INTERVAL: Final = 1.0
"""Seconds between looks at the receipts while the window has room: so soon a
stream of rare events learns that its client has left.  And as long, at most, waits
a part for its receipt where earlier ones may have expired."""

FULL_WAIT: Final = 0.05
"""Seconds to wait before a full reply channel is tried again."""


class ReplyStream:
    """
    The parts of one response, on their way.

    Used by one worker thread.
    """

    def __init__(
        self,
        layer: IBlockingChannelLayer,
        reply_channel: str,
        window: int = STREAM_WINDOW,
        patience: float = STREAM_PATIENCE,
        look_interval: float = LOOK_INTERVAL,
        full_wait: float = FULL_WAIT,
    ) -> None:
        """
        @param layer: the blocking face of the layer that the request came over.
        @param reply_channel: the connection.
        @param window: how many parts may be without their receipt.
        @param patience: after how many seconds without progress to give up.
        @param look_interval: seconds between looks at the receipts.
        @param full_wait: seconds before a full reply channel is tried again.
        """
        self._layer = layer
        self._reply_channel = reply_channel
        self._window = window
        self._patience = patience
        self._look_interval = look_interval
        self._full_wait = full_wait
        self._receipts = f"chanserv.receipts?{secrets.token_hex(12)}" if layer.settles else None
        self._open = 0
        self._looked = time.monotonic()

    def send(self, message: Message) -> None:
        """
        Send the next part; waits while the window is full.

        @raise ClientDisconnected: nobody takes the response any more.
        """
        receipts = self._receipts
        rare = False
        if receipts is not None:
            rare = self._took_long(receipts)
            self._take_receipts(receipts)
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._layer.send(self._reply_channel, message, receipts)
                break
            except ChannelFull as error:
                if time.monotonic() >= deadline:
                    raise ClientDisconnected(
                        f"no part of the response was taken in {self._patience:g} s"
                    ) from error
                time.sleep(self._full_wait)
        self._open += 1
        if rare and receipts is not None:
            self._take_one(receipts, True, self._look_interval)

    def _took_long(self, receipts: str) -> bool:
        """
        Whether receipts may have expired since the last look.  Then those that
        have not are taken, and none is waited for.

        The parts that are forgotten so bind no memory of ours: the interface
        server bounds what a client has not taken, and for how long.
        """
        if time.monotonic() - self._looked < self._layer.expiry / 2:
            return False
        while self._take_one(receipts, False):
            pass
        self._open = 0
        return True

    def _take_receipts(self, receipts: str) -> None:
        """Wait for room in the window; while there is, look only now and then."""
        deadline = time.monotonic() + self._patience
        while self._open >= self._window:
            if not self._take_one(receipts, True) and time.monotonic() >= deadline:
                raise ClientDisconnected(
                    f"no part of the response was taken in {self._patience:g} s"
                )
        if self._open and time.monotonic() - self._looked >= self._look_interval:
            while self._open and self._take_one(receipts, False):
                pass

    def _take_one(self, receipts: str, block: bool, timeout: float | None = None) -> bool:
        self._looked = time.monotonic()
        _, receipt = self._layer.receive([receipts], block=block, timeout=timeout)
        if receipt is None:
            return False
        self._open = max(self._open - 1, 0)
        if receipt.get("receipt") != Outcome.SETTLED:
            raise ClientDisconnected("the client left before the response was whole")
        return True
