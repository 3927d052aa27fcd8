"""
What a run of a consumer sends, gathered until it ends.

A worker hands each run an L{Outbox}.  While the run lasts, C{Channel.send} and
C{Group.send} in its context add to it; they go out as one batch when the run is
over.  The context is that of C{contextvars}: the run's thread, and for C{async def}
the event loop that asgiref runs it on, with all that C{sync_to_async} calls from
there, so that what one consumer sends keeps its order.  Everywhere else (a view
under another server, a shell, a thread that a consumer started) there is no such
outbox, and sends go out at once.

A run belongs to one channel layer.  What it sends over another one is gathered
beside it, and flushed through that layer's blocking face at the end.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

from chanserv.worker.outbox import Outbox

if TYPE_CHECKING:
    from chanserv.django.layers import ChannelLayerWrapper


class Gathering:
    """
    The outboxes of one run, by channel layer.

    @ivar message: the message that the run is for.
    @ivar outer: that of the run within which this one is.
    @ivar over: whether the run has ended.  Something that it began and did not
        wait for may still have it in its context.
    """

    __slots__ = ("_layer", "_others", "_outbox", "message", "outer", "over")

    def __init__(
        self,
        layer: ChannelLayerWrapper,
        outbox: Outbox,
        message: Mapping[str, object],
        outer: Gathering | None,
    ) -> None:
        self.message = message
        self._layer = layer
        self._outbox = outbox
        self._others: dict[ChannelLayerWrapper, Outbox] | None = None
        self.outer = outer
        self.over = False

    def outbox_for(self, layer: ChannelLayerWrapper) -> Outbox:
        """The outbox for what goes over C{layer}."""
        if layer is self._layer:
            return self._outbox
        if self._others is None:
            self._others = {}
        return self._others.setdefault(layer, Outbox())

    def flush_others(self) -> None:
        """
        Send what was gathered for layers that are not the run's own.

        @raise ChannelLayerError: the first error of those sends, after all of
            them were tried.
        """
        if self._others is None:
            return
        failures = [
            failure
            for layer, outbox in self._others.items()
            for failure in layer.channel_layer.send_batch(outbox.operations)
            if failure is not None
        ]
        if failures:
            raise failures[0]


_current: ContextVar[Gathering | None] = ContextVar("gathering", default=None)

# A consumer may fork.  Nobody in the child flushes the copy of its outbox.
os.register_at_fork(after_in_child=lambda: _current.set(None))


def begin(
    layer: ChannelLayerWrapper, outbox: Outbox, message: Mapping[str, object] | None = None
) -> Gathering:
    """
    Gather what this context sends, until L{end}.  Runs may nest.

    @param message: what the run is for.
    """
    gathering = Gathering(layer, outbox, message or {}, _current.get())
    _current.set(gathering)
    return gathering


def end(gathering: Gathering) -> None:
    """Stop gathering, and go back to what was before L{begin}."""
    gathering.over = True
    _current.set(gathering.outer)
    gathering.flush_others()


def current_outbox(layer: ChannelLayerWrapper) -> Outbox | None:
    """Where this context's sends over C{layer} gather; L{None} outside of a run."""
    gathering = _current.get()
    return None if gathering is None or gathering.over else gathering.outbox_for(layer)


def current_message() -> Mapping[str, object] | None:
    """
    The message that a consumer runs for in this context, also for what it began and
    did not wait for; L{None} outside of a run.
    """
    gathering = _current.get()
    return None if gathering is None else gathering.message
