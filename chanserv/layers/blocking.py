"""
Channel layers for threads, and for processes that run no reactor.

L{face_of} gives the blocking face of the layer of this process;
L{blocking_layer} makes a layer where there is only that.

A layer may provide its own face, by a method C{blocking_face} that takes a
callable for "is this the reactor's thread" and returns an
L{IBlockingChannelLayer<chanserv.interfaces.IBlockingChannelLayer>}.  Every
other layer is reached through the reactor: see L{ReactorFace}.
"""

from __future__ import annotations

from typing import Any, cast

from chanserv.interfaces import IBlockingChannelLayer, IChannelLayer
from chanserv.layers.from_spec import Spec, make_layer
from chanserv.layers.io_thread import runs_here
from chanserv.layers.reactor_face import ReactorFace


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

    @param spec: see L{chanserv.layers.from_spec}.
    @param config: options, by the names that C{CONFIG} has them under; they
        count before those in C{spec}.
    @raise ConfigurationError: C{spec} or C{config} is wrong.
    """
    return face_of(make_layer(spec, None, config), None)
