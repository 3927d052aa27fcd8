"""The rule of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from chanserv.errors import ChannelFull, ChannelLayerError
from chanserv.messages import Send
from chanserv.names import mailbox_of

T = TypeVar("T")


def attempt_all(
    operations: Iterable[T], attempt: Callable[[T], ChannelLayerError | None]
) -> list[ChannelLayerError | None]:
    """
    Do many operations, one after the other.

    One that fails does not keep the others back, but for this: once a channel
    was full, the rest of the batch that goes there fails too, whatever room a
    reader has made meanwhile.  An answer in parts must not lose one from its
    middle, nor have it sent again behind the others.

    @param attempt: does one, and returns its error, or L{None}.
    @return: what it returned for each.
    """
    errors: list[ChannelLayerError | None] = []
    full: dict[str, ChannelFull] = {}
    for operation in operations:
        error: ChannelLayerError | None = None
        if full and isinstance(operation, Send) and isinstance(operation.channel, str):
            error = full.get(mailbox_of(operation.channel))
        if error is None:
            error = attempt(operation)
            if isinstance(error, ChannelFull):
                full[error.channel] = error
        errors.append(error)
    return errors
