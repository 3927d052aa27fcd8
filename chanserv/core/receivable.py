"""The check of names to receive from, for those who ask for the same few each time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from chanserv.names import check_all_receivable, is_single_reader

MAX_KNOWN: Final = 1_024
"""Names remembered: more than a process reads, and no more than a hostile one
could fill memory with."""


class ReceivableNames:
    """
    Names that have been found fit to receive from.

    Workers ask for the same ones each time, and to check one costs more than all
    the rest of an empty receive.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: set[str] = set()

    def checked(self, channels: Iterable[str]) -> tuple[str, ...]:
        """
        Return C{channels} when each can be received from; the known ones by one look.

        @raise InvalidChannelName: see L{check_all_receivable}.
        """
        if not isinstance(channels, (str, bytes)):
            channels = tuple(channels)
            try:
                if self._known.issuperset(channels):
                    return channels
            except TypeError:
                # Not even hashable: the check below says so.
                pass
        names = check_all_receivable(channels)
        if len(self._known) > MAX_KNOWN:
            self._known = set()
        # A single-reader channel is as good as never read by two.
        self._known.update(name for name in names if not is_single_reader(name))
        return names
