"""
Keeping the database off the reactor's thread.

A query there would stop every connection of the process while it lasts, and
nothing in Django notices, since Twisted's reactor is no running asyncio loop.
So opening a connection there is refused.  Connections belong to threads, so
those of the workers are never asked about.
"""

from __future__ import annotations

from typing import Any, Final

from django.core.exceptions import SynchronousOnlyOperation
from django.db.backends.signals import connection_created

from chanserv.layers.io_thread import runs_here

on_reactor_thread: Final = runs_here()
"""Whether the calling thread is that of a running reactor."""


def install() -> None:
    """Watch the opening of database connections.  May be called again."""
    connection_created.connect(refuse_on_reactor, dispatch_uid=__name__)


def refuse_on_reactor(*, connection: Any, **kwargs: Any) -> None:
    """
    Close a connection that was opened on the reactor's thread.

    @raise SynchronousOnlyOperation: it was.
    """
    if on_reactor_thread():
        connection.close()
        raise SynchronousOnlyOperation(
            "the database was used on the reactor's thread, where it would hold up every "
            "connection: use a consumer or a view, or "
            "twisted.internet.threads.deferToThread()"
        )
