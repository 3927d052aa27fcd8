"""
Which consumer gets which message.

A routing is a list of L{route}, L{route_class} and L{include} entries, or a
dict of channel names to consumers; each may stand as the dotted path of one.
It is compiled once into a L{Router}: for each channel the routes that apply,
in order, of which the first that matches is taken.  Behind them all stand the
default consumers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asgiref.sync import async_to_sync, iscoroutinefunction

from chanserv.django.exceptions import ImproperChannelLayers, NoConsumer
from chanserv.errors import InvalidChannelName
from chanserv.names import check_receivable

if TYPE_CHECKING:
    from chanserv.django.layers import LayerSettings
    from chanserv.django.message import Message

Consumer: TypeAlias = Callable[..., object]
"""What is called with a message, and the named groups of its route."""

Filters: TypeAlias = "dict[str, re.Pattern[str]]"


def null_consumer(message: Message, **kwargs: Any) -> None:
    """Do nothing with a message: the default for what needs no answer."""


def connect_consumer(message: Message, **kwargs: Any) -> None:
    """Accept a WebSocket: the default for C{websocket.connect}."""
    if message.reply_channel is not None:
        message.reply_channel.send({"accept": True})


class Route:
    """
    One channel, the conditions on its messages, and their consumer.

    @ivar channel: the channel's name.
    @ivar filters: regular expressions by message key.
    @ivar consumer: what is called.
    @ivar name: the consumer's dotted name, for logs.
    """

    def __init__(self, channel: str, consumer: Consumer, filters: Filters) -> None:
        self.channel = channel
        self.filters = filters
        self.name = dotted_name(consumer)
        self.consumer = async_to_sync(consumer) if iscoroutinefunction(consumer) else consumer

    def match(self, message: Message) -> dict[str, str] | None:
        """
        The named groups of all filters, where each one matches the start of
        the message's value; else L{None}.
        """
        found: dict[str, str] = {}
        for key, pattern in self.filters.items():
            value = message.get(key)
            if value is None:
                return None
            if isinstance(value, bytes):
                value = value.decode("utf-8", "replace")
            match = pattern.match(value if isinstance(value, str) else str(value))
            if match is None:
                return None
            found.update(match.groupdict())
        return found

    def expand_routes(self) -> Iterator[Route]:
        """The plain routes that this entry stands for: itself."""
        yield self

    def with_prefixes(self, prefixes: Filters) -> Route:
        """
        This route behind the filters of an L{Include}: where both look at the
        same key, the prefix is matched first and the route's own expression
        on the rest.
        """
        filters = dict(self.filters)
        for key, prefix in prefixes.items():
            filters[key] = _joined(key, prefix, filters[key]) if key in filters else prefix
        copy = self.__class__.__new__(self.__class__)
        copy.__dict__.update(self.__dict__, filters=filters)
        return copy

    def __repr__(self) -> str:
        conditions = "".join(
            f", {key}={pattern.pattern!r}" for key, pattern in self.filters.items()
        )
        return f"<route({self.channel!r}, {self.name}{conditions})>"


class RouteClass:
    """One class-based consumer, on all channels that it has methods for."""

    def __init__(self, consumer: Any, filters: Filters) -> None:
        self.consumer = consumer
        self.filters = filters

    def expand_routes(self) -> Iterator[Route]:
        """One route for each channel of the class."""
        for channel in sorted(self.consumer.channel_names()):
            yield Route(channel, self.consumer, self.filters)


class Include:
    """
    Another routing, behind filters of its own.

    What it stands for is looked up when the routing is compiled, so that two
    modules may include each other's parts.
    """

    def __init__(self, routing: Any, prefixes: Filters) -> None:
        self.routing = routing
        self.prefixes = prefixes

    def expand_routes(self) -> Iterator[Route]:
        """The routes of the included routing, with the filters added."""
        source = f"include({self.routing!r})" if isinstance(self.routing, str) else "include()"
        for plain in expand_routing(self.routing, source):
            yield plain.with_prefixes(self.prefixes)


def route(channel: str, consumer: Consumer | str, **filters: str) -> Route:
    """
    Send the messages of a channel to a consumer.

    @param channel: the channel's name.
    @param consumer: a callable that takes the message, or its dotted path.
    @param filters: regular expressions that the message's values must match at
        their start; the named groups become keyword arguments of the consumer.
    @raise ImproperChannelLayers: one of them is not what it should be.
    """
    _check_channel(channel, consumer)
    return Route(channel, _resolve_consumer(consumer, f"route({channel!r})"), _compiled(filters))


def route_class(consumer: type | str, **filters: str) -> RouteClass:
    """
    Send the messages of all channels that a class-based consumer has methods
    for to that class.

    @param consumer: the class, or its dotted path.
    @param filters: as for L{route}.
    @raise ImproperChannelLayers: one of them is not what it should be.
    """
    found = _resolve_consumer(consumer, "route_class()")
    if not callable(getattr(found, "channel_names", None)):
        raise ImproperChannelLayers(
            f"route_class() got {consumer!r}, which has no channel_names(): give it a "
            f"class-based consumer, or use route() for a function"
        )
    return RouteClass(found, _compiled(filters))


def include(routing: Any, **filters: str) -> Include:
    """
    Put another routing in this place, behind filters.

    @param routing: a list, a dict, or the dotted path of one.
    @param filters: regular expressions, as for L{route}.  Where an included
        route has one on the same key, it is matched on what follows.
    """
    return Include(routing, _compiled(filters))


class Router:
    """
    A compiled routing.

    @ivar routing: all its routes, in order, without the default ones.
    """

    def __init__(
        self,
        routing: Any,
        http_consumer: Consumer | None = None,
        source: str = "the routing",
    ) -> None:
        """
        @param routing: a list, a dict, a dotted path, or L{None} for nothing
            but the default consumers.
        @param http_consumer: the default for C{http.request}; Django's views
            when it is L{None}.
        @param source: what to call the routing in error messages.
        @raise ImproperChannelLayers: the routing is wrong.
        """
        self.routing = [] if routing is None else list(expand_routing(routing, source))
        by_channel: dict[str, list[Route]] = {}
        for entry in (*self.routing, *default_routes(http_consumer)):
            by_channel.setdefault(entry.channel, []).append(entry)
        self._by_channel = {channel: tuple(routes) for channel, routes in by_channel.items()}
        self._channels = frozenset(by_channel)

    @classmethod
    def for_layer(cls, layer: LayerSettings, http_consumer: Consumer | None = None) -> Router:
        """The router of one entry of C{CHANNEL_LAYERS}."""
        return cls(layer.routing, http_consumer, f"CHANNEL_LAYERS[{layer.alias!r}]['ROUTING']")

    @property
    def channels(self) -> frozenset[str]:
        """The names of all channels with a consumer."""
        return self._channels

    def find(self, channel: str, message: Message) -> tuple[Route, dict[str, str]] | None:
        """The first route that matches, with its named groups; or L{None}."""
        for entry in self._by_channel.get(channel, ()):
            if not entry.filters:
                return entry, {}
            found = entry.match(message)
            if found is not None:
                return entry, found
        return None

    def match(self, message: Message) -> tuple[Consumer, dict[str, str]] | None:
        """
        The consumer for C{message}, and its keyword arguments; or L{None}.
        """
        found = self.find(message.channel.name, message)
        return None if found is None else (found[0].consumer, found[1])

    def only_route(self, channel: str) -> Route | None:
        """The route that takes every message of C{channel}, if there is one."""
        routes = self._by_channel.get(channel)
        return routes[0] if routes and not routes[0].filters else None

    def no_consumer(self, channel: str) -> NoConsumer:
        """The error for a message that nothing here takes."""
        if channel in self._channels:
            return NoConsumer(
                f"no route on {channel!r} matches this message: add one without "
                f"conditions, for what is left"
            )
        return NoConsumer(
            f"no consumer for channel {channel!r}: the routing of this worker has "
            f"{', '.join(sorted(self._channels))}; add a route, or start the workers anew"
        )


def default_routes(http_consumer: Consumer | None = None) -> tuple[Route, ...]:
    """What is done with messages that no route of the site takes."""
    if http_consumer is None:
        from chanserv.django.handler import ViewConsumer

        http_consumer = ViewConsumer()
    return (
        Route("http.request", http_consumer, {}),
        Route("http.disconnect", null_consumer, {}),
        Route("websocket.connect", connect_consumer, {}),
        Route("websocket.receive", null_consumer, {}),
        Route("websocket.disconnect", null_consumer, {}),
    )


def expand_routing(routing: Any, source: str) -> Iterator[Route]:
    """
    All plain routes of a routing, in order.

    @param source: what to call it in error messages.
    @raise ImproperChannelLayers: it is no routing.
    """
    if isinstance(routing, str):
        routing = import_dotted(routing, source)
    if isinstance(routing, Mapping):
        entries: Iterable[Any] = [route(channel, consumer) for channel, consumer in routing.items()]
    elif isinstance(routing, (list, tuple)):
        entries = routing
    else:
        raise ImproperChannelLayers(
            f"{source} is {routing!r}: it must be a list of route() and include(), a dict of "
            f"channels to consumers, or the dotted path of one"
        )
    for entry in entries:
        if not isinstance(entry, (Route, RouteClass, Include)):
            raise ImproperChannelLayers(
                f"{source} holds {entry!r}: each entry must be a route(), route_class() or "
                f"include()"
            )
        yield from entry.expand_routes()


def import_dotted(path: str, source: str) -> Any:
    """
    Import what a dotted path names.

    @param source: what asked for it, for the error message.
    @raise ImproperChannelLayers: there is no such thing.  An error inside the
        imported module is raised as it is.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name or not name:
        raise ImproperChannelLayers(
            f"{source} names {path!r}: a dotted path has a module and a name in it, such as "
            f"'mysite.routing.channel_routing'"
        )
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name != missing and not module_name.startswith(f"{missing}."):
            raise
        raise ImproperChannelLayers(
            f"{source} names {path!r}, and there is no module {missing!r}: correct the path, "
            f"or add the module to the Python path"
        ) from error
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise ImproperChannelLayers(
            f"{source} names {path!r}, and {module_name} has no {name!r}"
        ) from error


def dotted_name(consumer: Any) -> str:
    """The name of a consumer for logs: its module, and its place in there."""
    named = consumer if hasattr(consumer, "__qualname__") else type(consumer)
    return f"{named.__module__}.{named.__qualname__}"


def _resolve_consumer(consumer: Any, source: str) -> Consumer:
    found = import_dotted(consumer, source) if isinstance(consumer, str) else consumer
    if not callable(found):
        raise ImproperChannelLayers(
            f"{source} has the consumer {consumer!r}, which cannot be called: give it a "
            f"function, a class, or the dotted path of one"
        )
    resolved: Consumer = found
    return resolved


def _check_channel(channel: Any, consumer: Any) -> None:
    try:
        check_receivable(channel)
    except InvalidChannelName as error:
        raise ImproperChannelLayers(f"the route to {consumer!r}: {error}") from error


def _compiled(filters: Mapping[str, str | re.Pattern[str]]) -> Filters:
    compiled: Filters = {}
    for key, expression in filters.items():
        try:
            compiled[key] = re.compile(expression)
        except (re.error, TypeError) as error:
            raise ImproperChannelLayers(
                f"the filter {key}={expression!r} of a route is no regular expression: {error}"
            ) from error
    return compiled


_ANCHOR: Final = "^"


_ALTERNATIVE: Final = re.compile(
    r"""\\. | \[\^?\]?(?:\\.|[^\]\\])*\] | (?P<open>\() | (?P<close>\)) | (?P<next>\|\^)""",
    re.VERBOSE | re.DOTALL,
)
"""What matters for finding the alternatives of an expression that begin with an
anchor: what is escaped or in a set, where groups begin and end, and C{|^}."""


def _without_anchors(pattern: re.Pattern[str]) -> str:
    """
    The expression without the C{^} that its alternatives begin with, for
    being put behind something.
    """
    text = pattern.pattern.removeprefix(_ANCHOR)
    depth = 0

    def lift(found: re.Match[str]) -> str:
        nonlocal depth
        depth += bool(found["open"]) - bool(found["close"])
        return "|" if found["next"] and not depth else found[0]

    return _ALTERNATIVE.sub(lift, text)


def _joined(key: str, prefix: re.Pattern[str], inner: re.Pattern[str]) -> re.Pattern[str]:
    if not inner.pattern.startswith(_ANCHOR):
        raise ImproperChannelLayers(
            f"the included filter {key}={inner.pattern!r} must begin with '^' to be matched "
            f"behind the prefix {prefix.pattern!r}"
        )
    if prefix.pattern.endswith("$"):
        raise ImproperChannelLayers(
            f"the prefix {key}={prefix.pattern!r} of an include() must not end in '$': the "
            f"included {inner.pattern!r} is matched on what follows"
        )
    start, rest = (_without_anchors(one) for one in (prefix, inner))
    try:
        return re.compile(f"^(?:{start})(?:{rest})", prefix.flags | inner.flags)
    except re.error as error:
        raise ImproperChannelLayers(
            f"the prefix {key}={prefix.pattern!r} of an include() and the included "
            f"{inner.pattern!r} do not make one regular expression: {error}"
        ) from error
