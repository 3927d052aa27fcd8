"""The base of class-based consumers."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, ClassVar

from asgiref.sync import async_to_sync

from chanserv.django.message import Message

if TYPE_CHECKING:
    from chanserv.django.routing import RouteClass


class BaseConsumer:
    """
    A consumer of several channels, with a method for each, which may be
    C{async def}.

    The class is the consumer: an instance is made for each message, and the
    method for its channel is called.

    @cvar method_mapping: the names of methods, by channel.
    @cvar channel_session: whether methods get C{message.channel_session}.
    @cvar channel_session_user: whether they get C{message.user} with it.
    @ivar message: the message.
    @ivar kwargs: the named groups of its route.
    """

    method_mapping: ClassVar[dict[str, str]] = {}
    channel_session: bool = False
    channel_session_user: bool = False

    def __init__(self, message: Message, **kwargs: Any) -> None:
        """Take a message, and act on it."""
        self.message = message
        self.kwargs = kwargs
        self.dispatch(message, **kwargs)

    @classmethod
    def channel_names(cls) -> set[str]:
        """The channels that the class has methods for."""
        return set(cls.method_mapping)

    @classmethod
    def as_route(cls, attrs: dict[str, Any] | None = None, **filters: str) -> RouteClass:
        """
        A route to this class.

        @param attrs: class attributes to set for this route alone.
        @param filters: as for C{route_class}.
        """
        from chanserv.django.routing import route_class

        consumer = type(cls.__name__, (cls,), dict(attrs)) if attrs else cls
        return route_class(consumer, **filters)

    def get_handler(self, message: Message, **kwargs: Any) -> Callable[..., Any]:
        """The method for the message's channel, with the sessions it asked for."""
        handler: Callable[..., Any] = getattr(self, self.method_mapping[message.channel.name])
        if self.channel_session_user:
            from chanserv.django.auth import channel_session_user

            return channel_session_user(handler)
        if self.channel_session:
            from chanserv.django.sessions import channel_session

            return channel_session(handler)
        return handler

    def dispatch(self, message: Message, **kwargs: Any) -> Any:
        """Call the method for the message's channel."""
        return run_to_end(self.get_handler(message, **kwargs), message, **kwargs)


def run_to_end(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call C{method}, and wait for its end where it is C{async def}."""
    result = method(*args, **kwargs)
    if not iscoroutine(result):
        return result

    async def wait() -> Any:
        return await result

    return async_to_sync(wait)()
