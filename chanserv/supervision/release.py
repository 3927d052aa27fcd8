"""The label of the code that workers run, which may change under a running supervisor."""

from __future__ import annotations

from typing import ClassVar, Final

from twisted.logger import Logger

FROM_FILE: Final = "@"
"""What stands before the path of a file that has the label."""

MAX_LABEL: Final = 64
"""Characters of a label: more than the id of a commit has.  It stands in each line of
the log and in each name of a metric."""


class Release:
    """
    A label as an operator gives it: itself, or where it stands.

    @ivar label: as it was last read.
    """

    _log: ClassVar = Logger(namespace="chanserv.supervision")

    def __init__(self, given: str = "") -> None:
        """
        @param given: the label, or C{@} and the path of a file that begins with it.
        """
        self._path = given[1:] if given.startswith(FROM_FILE) else None
        self.label = "" if self._path is not None else given

    def read(self) -> str:
        """
        The label as it is now.

        @return: it; where its file cannot be read, the one before.
        """
        if self._path is None:
            return self.label
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                self.label = file.readline(MAX_LABEL).strip()
        except OSError as error:
            self._log.warn(
                "--release=@{path} cannot be read: {error}. Workers keep the label {label}",
                path=self._path,
                error=error.strerror,
                label=repr(self.label),
            )
        return self.label
