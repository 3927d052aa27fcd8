"""What has been taken on lease, and is to be settled or put back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.layers.redis.entry import Entry
from chanserv.layers.redis.posts import Results
from chanserv.layers.redis.protocol import Word

Words: TypeAlias = tuple[Word, ...]
"""An operation on one lease."""

Operations: TypeAlias = dict[str, Words]
"""Operations by their leases, in order."""


class Leased:
    """
    Operations on leases, on one shard.

    To settle a lease twice does nothing, and not to settle it would leave
    somebody waiting.  So what has failed is kept, and done on the next occasion.
    What is still under way is not done again: it may stand behind an answer that
    is to come before it.
    """

    _log: ClassVar = Logger(namespace="chanserv.redis")

    def __init__(
        self,
        name: str,
        post: Callable[[Sequence[Word], int], Deferred[Results]],
        complain: Callable[[Failure], None],
    ) -> None:
        """
        @param name: the server's.
        @param post: has the server do operations.
        @param complain: told of each failure.
        """
        self._name = name
        self._post = post
        self._complain = complain
        self._failed: Operations = {}

    # Now

    def settle(self, lease: str, outcome: str) -> None:
        """Settle what was taken, now or when it can be."""
        self._do({lease: settling(lease, outcome)})

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Put back, in their order, what was taken and is wanted by nobody."""
        leased: Operations = {}
        words: list[Word] = []
        for entry in reversed(entries):
            operation = ("b", entry.lease or "-", entry.raw)
            words += operation
            if entry.lease is not None:
                leased[entry.lease] = operation
        putting = self._post(words, len(entries))
        putting.addErrback(self._not_put_back, leased, len(entries) - len(leased))

    def _do(self, operations: Operations) -> None:
        doing = self._post(joined(operations.values()), len(operations))
        doing.addErrback(self._not_done, operations)

    def _not_done(self, failure: Failure, operations: Operations) -> None:
        self.keep(operations)
        self._complain(failure)

    def _not_put_back(self, failure: Failure, leased: Operations, others: int) -> None:
        self._not_done(failure, leased)
        if others:
            self._log.error(
                "{count} messages from Redis {name} are lost: they were taken for a receive "
                "that was cancelled, and could not be put back",
                count=others,
                name=self._name,
            )

    # Later

    def __bool__(self) -> bool:
        """Whether something has failed."""
        return bool(self._failed)

    def not_settled(self, lease: str, outcome: str) -> None:
        """Note that a trip has failed which was to settle C{lease}: it is C{outcome}."""
        self._failed[lease] = settling(lease, outcome)

    def again(self) -> None:
        """Do what has failed."""
        if self._failed:
            self._do(self.take())

    def take(self) -> Operations:
        """What has failed, for the caller to do."""
        failed, self._failed = self._failed, {}
        return failed

    def keep(self, failed: Operations) -> None:
        """Note what has failed; what has been noted since counts before it."""
        self._failed = {**failed, **self._failed}

    def clear(self) -> None:
        """Forget all: the store knows nothing of these leases any more."""
        self._failed.clear()


def settling(lease: str, outcome: str) -> Words:
    """The operation that settles a lease."""
    return "t", lease, outcome


def joined(operations: Iterable[Words]) -> list[Any]:
    """The words of many operations."""
    return [word for operation in operations for word in operation]
