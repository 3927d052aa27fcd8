"""
Unix sockets to listen on: such as this process makes and removes, and such as
another has made and lent.

Twisted guards a path by a lock file that names a process.  In a container,
where each process has the same number as the one before, a lock that was left
by C{SIGKILL} would then be kept for ever.  Here a socket at the path is asked
instead: nobody listens on what refuses a connection.
"""

# mypy: allow-untyped-calls
# (the classes that these build on have few types)

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Any, Final

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

DEFAULT_MODE: Final = 0o666
"""Who may connect where the endpoint does not say: all who may enter the folder,
as with Twisted."""


def remove_stale(path: str) -> None:
    """
    Remove the socket at C{path} on which nobody listens any more.

    @raise OSError: somebody does, or that is no socket, or it may not be removed.
    """
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise FileExistsError(errno.EEXIST, "there is a file that is no socket", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # one that does not take connections is not waited for
        refused = probe.connect_ex(path) == errno.ECONNREFUSED
    if not refused:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)
    os.unlink(path)


class OwnUnixPort(unix.Port):
    """A listening Unix socket whose file goes when it closes."""

    _log = Logger()
    _identity: tuple[int, int] | None = None

    def startListening(self) -> None:
        """
        Make the socket.

        @raise CannotListenError: that cannot be done.
        """
        made = self.createInternetSocket()
        try:
            remove_stale(os.fsdecode(self._bindPath))
            made.bind(self._bindPath)
        except OSError as error:
            made.close()
            raise CannotListenError(None, self._bindPath, error) from error
        port: Any = self
        port._preexistingSocket = made
        super().startListening()
        self._identity = _identity(self._bindPath)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Remove the file, unless it is another's by now, and close."""
        if self._identity is not None and _identity(self._bindPath) == self._identity:
            try:
                os.unlink(self._bindPath)
            except OSError as error:
                self._log.warn(
                    "The socket {path} stays where it is: {error}. The next start removes it, "
                    "if its user may write to that folder",
                    path=os.fsdecode(self._bindPath),
                    error=error.strerror,
                )
        tcp.Port.connectionLost(self, reason)


def _identity(path: bytes) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class LentUnixPort(unix.Port):
    """
    A listening Unix socket that another process has made: its file, with who
    may connect, is that one's.
    """

    def startListening(self) -> None:
        """Take connections."""
        port: Any = self
        port.factory.doStart()
        port.socket, port._preexistingSocket = port._preexistingSocket, None
        port.fileno = port.socket.fileno
        port.numberAccepts = 100
        port.connected = True
        port._shouldShutdown = False  # that would end it for its owner, too
        port.startReading()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Close our copy of it."""
        tcp.Port.connectionLost(self, reason)


@implementer(IStreamServerEndpoint)
class UnixEndpoint:
    """A Unix socket of our own."""

    def __init__(self, reactor: Any, path: str, mode: int, backlog: int) -> None:
        self._arguments = (path, mode, backlog)
        self._reactor = reactor

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen."""
        path, mode, backlog = self._arguments
        port = OwnUnixPort(os.fsencode(path), protocolFactory, backlog, mode, self._reactor)
        return _started(port)


@implementer(IStreamServerEndpoint)
class LentUnixEndpoint:
    """A Unix socket that this process was started with."""

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen."""
        os.set_blocking(self._descriptor, False)
        port = LentUnixPort._fromListeningDescriptor(
            self._reactor, self._descriptor, protocolFactory
        )
        os.close(self._descriptor)  # the port has a copy
        return _started(port)


def _started(port: unix.Port) -> Deferred[IListeningPort]:
    try:
        port.startListening()
    except Exception:
        return fail()
    started: Deferred[IListeningPort] = succeed(port)
    return started
