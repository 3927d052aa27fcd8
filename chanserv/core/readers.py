"""Who waits for messages, by mailbox, in the order in which they came."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Reader(Protocol):
    """
    Something that waits.

    @ivar channels: the mailboxes it reads, each named once.
    """

    @property
    def channels(self) -> tuple[str, ...]: ...


R = TypeVar("R", bound=Reader)


class Readers(Generic[R]):
    """
    The waiting readers.

    @ivar by_mailbox: for each mailbox with a reader, its readers, the longest
        waiting first.  To look at only.
    """

    __slots__ = ("_all", "by_mailbox")

    def __init__(self) -> None:
        self._all: dict[R, None] = {}
        self.by_mailbox: dict[str, dict[R, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, reader: R) -> bool:
        return reader in self._all

    def add(self, reader: R) -> None:
        """Let C{reader} wait, behind all others."""
        self._all[reader] = None
        for mailbox in reader.channels:
            self.by_mailbox.setdefault(mailbox, {})[reader] = None

    def remove(self, reader: R) -> bool:
        """
        Let C{reader} wait no more.

        @return: whether it did.
        """
        if reader not in self._all:
            return False
        del self._all[reader]
        for mailbox in reader.channels:
            readers = self.by_mailbox[mailbox]
            del readers[reader]
            if not readers:
                del self.by_mailbox[mailbox]
        return True

    def first(self, mailbox: str) -> R | None:
        """The reader of C{mailbox} that has waited longest."""
        readers = self.by_mailbox.get(mailbox)
        return next(iter(readers)) if readers else None

    def remove_all(self) -> list[R]:
        """Let nobody wait any more; return those who did."""
        readers = list(self._all)
        self._all.clear()
        self.by_mailbox.clear()
        return readers
