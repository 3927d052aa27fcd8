"""IPC layers for tests: in a directory of their own, and dead when told so."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from chanserv.layers.ipc import IPCChannelLayer
from chanserv.layers.ipc.seat import State

PATIENCE = 60.0
"""Seconds for what a slow machine does late."""


def make_directory(test: Any) -> str:
    """A private directory with a short path, removed when C{test} ends."""
    directory = tempfile.mkdtemp(prefix="ipc")
    test.addCleanup(shutil.rmtree, directory, ignore_errors=True)
    return directory


def make_ipc_layer(directory: str, clock: IReactorTime | None = None, **config: Any) -> Any:
    """A layer on the reactor that runs the tests."""
    from twisted.internet import reactor

    given = {"patience": PATIENCE, "answer_timeout": PATIENCE, **config}
    return IPCChannelLayer(reactor, directory=directory, clock=clock, **given)


def vanish(layer: IPCChannelLayer) -> Deferred[None]:
    """
    Let a layer end as its process would with C{SIGKILL}: the kernel closes its
    sockets and lets go of its lock, and nothing else is done.
    """
    seat = layer._seat
    seat.state = State.CLOSED
    host, seat.host = seat.host, None
    if seat._timer is not None:
        seat._timer.cancel()
        seat._timer = None
    if seat._connecting is not None:
        seat._connecting.cancel()
    if seat._remote is not None:
        seat._remote.abort()
    gone = succeed(None)
    if host is not None:
        host._stop_timer()
        host.hub.close()
        for connection in list(host.connections):
            connection.abort()
        port, host._port = host._port, None
        # Unlike a dead process it removes its socket too; one that is left
        # behind has a test of its own.
        gone = port.stopListening()
        gone.addCallback(lambda _: host._lock.release())
        seat._local = None
    return gone
