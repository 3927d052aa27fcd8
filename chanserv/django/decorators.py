"""What the decorators of consumers share: finding the message they are given."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from asgiref.sync import async_to_sync, iscoroutinefunction

from chanserv.django.message import Message

Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])
"""A consumer, or a method of a class-based one."""


def around(step: Callable[[Message, Callable[[], Any]], Any]) -> Callable[[Wrapped], Wrapped]:
    """
    Make a decorator for consumers of C{step(message, proceed)}.

    The decorated callable may take the message first, or C{self} and then the
    message.  It may be C{async def}; it is run to its end within the step all the
    same, so that what the step does after it comes after it.

    @param step: is called in place of the consumer; C{proceed()} runs that.
    """

    def decorator(consumer: Wrapped) -> Wrapped:
        run = async_to_sync(consumer) if iscoroutinefunction(consumer) else consumer

        @functools.wraps(consumer)
        def inner(*args: Any, **kwargs: Any) -> Any:
            message = _message_in(consumer, args)
            return step(message, lambda: run(*args, **kwargs))

        return cast(Wrapped, inner)

    return decorator


def _message_in(consumer: Callable[..., Any], args: tuple[Any, ...]) -> Message:
    for argument in args[:2]:
        if isinstance(argument, Message):
            return argument
    raise TypeError(f"{consumer!r} must be called with a message as its first argument")
