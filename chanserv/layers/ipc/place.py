"""
Where the processes of an IPC layer meet: a directory, a lock, a socket.

The directory belongs to the user, and nobody else can look into it: whoever can
open the socket can read and send everything.  The lock says who is the host.  It
is the kernel's, bound to the open file, so it ends with the process however that
ends; the file itself stays, and means nothing.  But while there is a host, whoever
removes the file lets another process become one, too; so the host keeps it young,
for those who clean up C{/tmp}.
"""

from __future__ import annotations

import fcntl
import os
import stat
from typing import Final
from urllib.parse import quote

from chanserv.errors import ConfigurationError, LayerUnavailable

MAX_SOCKET_PATH: Final = 100
"""Bytes in the path of the socket: the kernel's structure has room for 108 on
Linux and 104 elsewhere, with a zero at the end."""


def default_directory() -> str:
    """
    The user's own place for sockets: below C{XDG_RUNTIME_DIR} where the system
    gives one, and otherwise below C{/tmp}.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime):
        return os.path.join(runtime, "chanserv")
    return f"/tmp/chanserv-{os.geteuid()}"


class Place:
    """
    The files of one layer.

    @ivar socket_path: where the host listens.
    """

    def __init__(self, name: str, directory: str | None = None) -> None:
        """
        @param name: the layer's name.  Any text will do: what has no place in a
            file's name is written with percent signs.
        @param directory: where the files are; L{None} for the user's own place.
        @raise ConfigurationError: there is no name, or it makes the path of the
            socket too long.
        """
        if not isinstance(name, str) or not name:
            raise ConfigurationError(
                f"an IPC layer needs a name that its processes share, such as 'ipc:mysite', "
                f"not {name!r}"
            )
        if directory is not None and (
            not isinstance(directory, (str, os.PathLike)) or not os.path.isabs(directory)
        ):
            raise ConfigurationError(
                f"the directory of an IPC layer must be an absolute path, not {directory!r}"
            )
        self._directory = os.fspath(directory) if directory else default_directory()
        stem = os.path.join(self._directory, quote(name, safe=""))
        self.socket_path = stem + ".sock"
        self._lock_path = stem + ".lock"
        length = len(os.fsencode(self.socket_path))
        if length > MAX_SOCKET_PATH:
            raise ConfigurationError(
                f"the socket of the IPC layer {name!r} would be {self.socket_path}, a path of "
                f"{length} bytes, and {MAX_SOCKET_PATH} are possible: give it a shorter name, "
                f"or a 'directory' with a shorter path"
            )

    def prepare(self) -> None:
        """
        Make the directory where there is none, and hold that it is private.

        @raise LayerUnavailable: it cannot be made, or it is not the user's own.
        """
        try:
            os.makedirs(os.path.dirname(self._directory), exist_ok=True)
            try:
                os.mkdir(self._directory, 0o700)
            except FileExistsError:
                pass
            found = os.lstat(self._directory)
        except OSError as error:
            raise LayerUnavailable(
                f"the directory of an IPC layer, {self._directory}, cannot be used: {error}"
            ) from None
        self._check(found)

    def _check(self, found: os.stat_result) -> None:
        problem = None
        if stat.S_ISLNK(found.st_mode):
            problem = "is a symbolic link, which another user may have laid"
        elif not stat.S_ISDIR(found.st_mode):
            problem = "is no directory"
        elif found.st_uid != os.geteuid():
            problem = f"belongs to user {found.st_uid}, and this process is user {os.geteuid()}"
        elif stat.S_IMODE(found.st_mode) & 0o077:
            problem = f"is open to others (mode {stat.S_IMODE(found.st_mode):o})"
        if problem:
            raise LayerUnavailable(
                f"the directory of an IPC layer, {self._directory}, {problem}: make it the "
                f"user's own with mode 700, or give the layer another 'directory'"
            )

    def try_lock(self) -> Lock | None:
        """
        Become the host, if nobody is.

        @return: the lock, or L{None} where another process has it.
        @raise LayerUnavailable: the file cannot be opened.
        """
        try:
            fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise LayerUnavailable(
                f"the lock of an IPC layer, {self._lock_path}, cannot be opened: {error}"
            ) from None
        lock = Lock(fd, self._lock_path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.release()
            return None
        if not lock.holds():
            # Somebody removed the file, and may have locked its successor.
            lock.release()
            return None
        return lock

    def clear_socket(self) -> None:
        """Remove the socket of a host that is gone.  For the holder of the lock."""
        try:
            os.unlink(self.socket_path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise LayerUnavailable(
                f"the old socket of an IPC layer, {self.socket_path}, cannot be removed: {error}"
            ) from None


class Lock:
    """The right to be the host, for as long as this is held."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd: int | None = fd
        self._path = path

    def holds(self) -> bool:
        """Whether the locked file is still the one that others try to lock."""
        if self._fd is None:
            return False
        try:
            mine, theirs = os.fstat(self._fd), os.stat(self._path)
        except OSError:
            return False
        return (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino)

    def touch(self) -> None:
        """Let nobody take the file for one that is left over."""
        if self._fd is not None:
            os.utime(self._fd)

    def release(self) -> None:
        """Let go.  A second call does nothing."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
