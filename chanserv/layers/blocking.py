"""
Channel layers for threads, and for processes that run no reactor.

L{face_of} gives the blocking face of the layer of this process;
L{blocking_layer} makes a layer where there is only that.

A layer may provide its own face, by a method C{blocking_face} that takes a
callable for "is this the reactor's thread" and returns an
L{IBlockingChannelLayer<chanserv.interfaces.IBlockingChannelLayer>}.  Every
other layer is reached through a reactor, with a L{ReactorFace}: that of the
process, or one of its own; see L{chanserv.layers.reactor_thread}.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, cast

from zope.interface import implementer

from chanserv.errors import (
    ChannelFull,
    ChannelLayerError,
    ConfigurationError,
    MessageTooLarge,
)
from chanserv.interfaces import IBlockingChannelLayer, IChannelLayer
from chanserv.layers.from_spec import ReactorNeeded, Spec, make_layer
from chanserv.layers.io_thread import runs_here
from chanserv.layers.reach import within_process
from chanserv.layers.reactor_face import ReactorFace
from chanserv.layers.reactor_thread import ReactorThread, process_lock, process_thread
from chanserv.messages import Message, Operation


def face_of(layer: IChannelLayer, reactor: Any) -> IBlockingChannelLayer:
    """
    The blocking face of C{layer}.

    Any thread may call this.

    @param layer: a layer that lives on C{reactor}.
    @param reactor: the reactor, running or about to; or L{None} in a process
        that runs none, for a layer with its own face.
    """
    own = getattr(layer, "blocking_face", None)
    if own is not None:
        return cast(IBlockingChannelLayer, own(runs_here(reactor)))
    return cast(IBlockingChannelLayer, ReactorFace(layer, reactor))


def blocking_layer(spec: Spec, **config: object) -> IBlockingChannelLayer:
    """
    Make a channel layer for a process that runs no reactor: a WSGI server's,
    a shell, a task queue's.

    It may be made and used before a fork and after it, in the parent and in
    the child: each process has connections of its own, made on its first use.
    They are given up when nobody has the layer any more, and at the program's
    end, which they do not put off.

    @param spec: see L{chanserv.layers.from_spec}.
    @param config: options, by the names that C{CONFIG} has them under; they
        count before those in C{spec}.
    @raise ConfigurationError: C{spec} or C{config} is wrong.
    """
    return cast(IBlockingChannelLayer, LayerOfEachProcess(spec, config))


class _Made(NamedTuple):
    """
    What one process has made.

    @ivar pid: the process.
    @ivar thread: what runs the layer; L{None} where nothing must.
    """

    layer: IChannelLayer
    face: IBlockingChannelLayer
    pid: int
    thread: ReactorThread | None

    @property
    def usable(self) -> bool:
        return self.pid == os.getpid() and not (self.thread and self.thread.ended)


@implementer(IBlockingChannelLayer)
class LayerOfEachProcess:
    """
    See L{blocking_layer}: one face, and behind it the layer of the process it
    is used in.

    A method of it may be called in another process than it was taken in, as
    the target of a C{multiprocessing.Process} is.
    """

    ChannelFull: type[ChannelLayerError] = ChannelFull
    MessageTooLarge: type[ChannelLayerError] = MessageTooLarge

    def __init__(self, spec: Spec, config: Mapping[str, object]) -> None:
        """
        @raise ConfigurationError: C{spec} or C{config} is wrong.
        """
        self._spec = spec
        self._config = config
        self._made: _Made | None = None
        with process_lock():
            try:
                self._made = self._make_without_reactor()
            except ReactorNeeded:
                # It is right, and costs nothing until it is used.
                pass

    def layer_for(self, reactor: Any) -> IChannelLayer:
        """
        Make the layer that this is the face of, for a server: what the
        C{asgi.py} of an old site has under C{channel_layer} is this face.
        """
        return make_layer(self._spec, reactor, self._config)

    @property
    def face(self) -> IBlockingChannelLayer:
        """
        That of the layer in this process.

        @raise LayerUnavailable: the program is ending.
        """
        return self._here().face

    @property
    def within_process(self) -> bool:
        """See L{chanserv.layers.reach}."""
        return within_process(self._here().layer)

    @property
    def extensions(self) -> Collection[str]:
        """See L{IBlockingChannelLayer}."""
        return self.face.extensions

    @property
    def expiry(self) -> float:
        """See L{IBlockingChannelLayer}."""
        return self.face.expiry

    @property
    def group_expiry(self) -> float:
        """See L{IBlockingChannelLayer}."""
        return self.face.group_expiry

    @property
    def settles(self) -> bool:
        """See L{IBlockingChannelLayer}."""
        return self.face.settles

    def send(self, channel: str, message: Message, receipt: str | None = None) -> None:
        """See L{IBlockingChannelLayer}."""
        self.face.send(channel, message, receipt)

    def send_batch(self, operations: Sequence[Operation]) -> list[ChannelLayerError | None]:
        """See L{IBlockingChannelLayer}."""
        return self.face.send_batch(operations)

    def receive(
        self, channels: Sequence[str], block: bool = False, timeout: float | None = None
    ) -> tuple[str, dict[str, object]] | tuple[None, None]:
        """See L{IBlockingChannelLayer}."""
        return self.face.receive(channels, block, timeout)

    def new_channel(self, pattern: str) -> str:
        """See L{IBlockingChannelLayer}."""
        return self.face.new_channel(pattern)

    def group_add(self, group: str, channel: str) -> None:
        """See L{IBlockingChannelLayer}."""
        self.face.group_add(group, channel)

    def group_discard(self, group: str, channel: str) -> None:
        """See L{IBlockingChannelLayer}."""
        self.face.group_discard(group, channel)

    def group_channels(self, group: str) -> list[str]:
        """See L{IBlockingChannelLayer}."""
        return self.face.group_channels(group)

    def send_group(self, group: str, message: Message) -> None:
        """See L{IBlockingChannelLayer}."""
        self.face.send_group(group, message)

    def flush(self) -> None:
        """See L{IBlockingChannelLayer}."""
        self.face.flush()

    def global_statistics(self) -> Mapping[str, int]:
        """See L{IBlockingChannelLayer}."""
        return self.face.global_statistics()

    def channel_statistics(self, channel: str) -> Mapping[str, int]:
        """See L{IBlockingChannelLayer}."""
        return self.face.channel_statistics(channel)

    def close(self) -> None:
        """
        Give up this process's connections now, and not only when nobody has
        this any more.  A later call makes others.
        """
        made = self._made
        if made is not None and made.usable and made.thread is not None:
            self._made = None
            made.thread.close(made.layer)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._spec, self._config)

    def _here(self) -> _Made:
        """What this process has made; it is made where it has not."""
        made = self._made
        return made if made is not None and made.usable else self._make()

    def _make(self) -> _Made:
        with process_lock():
            made = self._made
            if made is not None and made.usable:
                return made
            try:
                made = self._make_without_reactor()
            except ReactorNeeded:
                made = self._make_on(process_thread())
            self._made = made
            return made

    def _make_without_reactor(self) -> _Made:
        layer = make_layer(self._spec, None, self._config)
        reactor = None
        if not hasattr(layer, "blocking_face"):
            # An object that a module of the site has made, on a reactor it had.
            reactor = sys.modules.get("twisted.internet.reactor")
            if reactor is None:
                raise ConfigurationError(
                    f"this process has no reactor for the {type(layer).__name__} that the "
                    f"dotted path leads to: name the layer by a URL, or by its class"
                )
        return _Made(layer, face_of(layer, reactor), os.getpid(), None)

    def _make_on(self, thread: ReactorThread) -> _Made:
        layer = thread.add(lambda reactor: make_layer(self._spec, reactor, self._config))
        face = ReactorFace(layer, thread.reactor, must_not_wait=_either(thread.runs_here))
        # The face, and not this: a call that is on its way has only the former.
        weakref.finalize(face, thread.remove, layer).atexit = False
        return _Made(layer, cast(IBlockingChannelLayer, face), os.getpid(), thread)


def _either(ours: Callable[[], bool]) -> Callable[[], bool]:
    """Whether a thread is the private reactor's, or that of the process's own."""
    theirs = runs_here()
    return lambda: ours() or theirs()
