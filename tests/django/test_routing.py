"""Which consumer gets which message."""

from __future__ import annotations

import re
from typing import Any

import pytest

from chanserv.django import Message, channel_layers, include, route, route_class
from chanserv.django.exceptions import ImproperChannelLayers
from chanserv.django.generic.base import BaseConsumer
from chanserv.django.routing import Router, connect_consumer, null_consumer
from tests.site import consumers
from tests.site.routing import rooms


def message(channel: str, **content: Any) -> Message:
    return Message(content, channel, channel_layers["default"])


def first(message: Message) -> None:
    pass


def second(message: Message) -> None:
    pass


def views(message: Message) -> None:
    pass


class Both(BaseConsumer):
    method_mapping = {"one": "on_one", "two": "on_two"}


def test_a_channel_leads_to_its_consumer() -> None:
    router = Router([route("one", first), route("two", second)], views)
    assert router.match(message("one")) == (first, {})
    assert router.match(message("two")) == (second, {})
    assert router.match(message("three")) is None


def test_the_first_route_that_matches_is_taken() -> None:
    router = Router([route("one", first, key="a"), route("one", second)], views)
    assert router.match(message("one", key="abc")) == (first, {})
    assert router.match(message("one", key="bc")) == (second, {})
    assert router.match(message("one")) == (second, {})


def test_named_groups_become_keyword_arguments() -> None:
    router = Router(
        [route("one", first, path=r"^/(?P<room>\w+)/$", method=r"(?P<verb>GET|POST)")], views
    )
    assert router.match(message("one", path="/tea/", method="POST")) == (
        first,
        {"room": "tea", "verb": "POST"},
    )
    assert router.match(message("one", path="/tea/", method="PUT")) is None


def test_values_that_are_no_text_are_matched_as_text() -> None:
    router = Router([route("one", first, code="^10"), route("one", second, raw="^é")], views)
    assert router.match(message("one", code=1001)) == (first, {})
    assert router.match(message("one", raw="éa".encode())) == (second, {})
    assert router.match(message("one", raw=b"\xff")) is None


def test_an_include_takes_its_prefix_off() -> None:
    router = Router([include(rooms, path="^/chat/")], views)
    assert router.match(message("websocket.connect", path="/chat/tea/")) == (
        consumers.join_room,
        {"room": "tea"},
    )
    found = router.match(message("websocket.connect", path="/tea/"))
    assert found is not None
    assert found[0] is connect_consumer


def test_includes_nest_and_add_their_groups() -> None:
    inner = [route("one", first, path="^/(?P<room>[a-z]+)$")]
    middle = [include(inner, path="^/(?P<house>[a-z]+)", method="^GET$")]
    router = Router([include(middle, path="^/(?P<street>[a-z]+)")], views)
    assert router.match(message("one", path="/high/white/tea", method="GET")) == (
        first,
        {"street": "high", "house": "white", "room": "tea"},
    )
    assert router.match(message("one", path="/high/white/tea", method="PUT")) is None
    assert router.match(message("one", path="/high/white", method="GET")) is None


def test_an_alternative_in_a_prefix_stays_within_it() -> None:
    router = Router([include([route("one", first, path="^/x$|^/y$")], path="^/a|^/b")], views)
    assert router.match(message("one", path="/b/x")) == (first, {})
    assert router.match(message("one", path="/a")) is None


def test_all_alternatives_of_an_included_filter_are_matched_behind_the_prefix() -> None:
    router = Router([include([route("one", first, path="^/x$|^/y$")], path="^/a|^/b")], views)
    for path in ("/a/x", "/a/y", "/b/x", "/b/y"):
        assert router.match(message("one", path=path)) == (first, {})
    for path in ("/x", "/y", "/a/b/x", "/a/z"):
        assert router.match(message("one", path=path)) is None


@pytest.mark.parametrize(
    ("expression", "taken", "left"),
    [
        (r"^/[|^(]x|^/y", "/a/(x", "/a/x"),
        (r"^/[]|^]x", "/a/]x", "/a/x"),
        (r"^/\|^/z|^/y", "/a/y", "/a/z"),
        (r"^/(?:x|^)y", "/a/xy", "/a/y"),
        (r"^/\(x|^/y", "/a/y", "/a/x"),
    ],
)
def test_what_looks_like_an_alternative_of_an_included_filter_stays_as_it_is(
    expression: str, taken: str, left: str
) -> None:
    router = Router([include([route("one", first, path=expression)], path="^/a")], views)
    assert router.match(message("one", path=taken)) == (first, {})
    assert router.match(message("one", path=left)) is None


def test_the_flags_of_compiled_expressions_are_kept() -> None:
    router = Router([route("one", first, path=re.compile("^/tea", re.IGNORECASE))], views)  # type: ignore[arg-type]
    assert router.match(message("one", path="/TEA")) == (first, {})


def test_a_class_takes_all_its_channels() -> None:
    router = Router([route_class(Both, path="^/x")], views)
    assert router.match(message("one", path="/x")) == (Both, {})
    assert router.match(message("two", path="/x")) == (Both, {})
    assert router.match(message("two", path="/y")) is None


def test_a_dict_is_a_routing() -> None:
    router = Router({"one": first, "two": "tests.site.consumers.note"}, views)
    assert router.match(message("one")) == (first, {})
    assert router.match(message("two")) == (consumers.note, {})


def test_a_dotted_path_is_a_routing() -> None:
    router = Router("tests.site.routing.channel_routing", views)
    assert router.match(message("note")) == (consumers.note, {})


def test_default_consumers_stand_behind_all_routes() -> None:
    router = Router([route("websocket.connect", first, path="^/chat/$")], views)
    assert router.match(message("websocket.connect", path="/chat/")) == (first, {})
    assert router.match(message("websocket.connect", path="/")) == (connect_consumer, {})
    assert router.match(message("websocket.receive", path="/")) == (null_consumer, {})
    assert router.match(message("websocket.disconnect", path="/")) == (null_consumer, {})
    assert router.match(message("http.request", path="/")) == (views, {})
    assert router.match(message("http.disconnect", path="/")) == (null_consumer, {})


def test_a_route_without_conditions_takes_its_channel_at_once() -> None:
    router = Router([route("one", first), route("two", first, key="a")], views)
    only = router.only_route("one")
    assert only is not None
    assert only.consumer is first
    assert router.only_route("two") is None
    assert router.only_route("three") is None


def test_a_message_that_no_route_takes_has_a_clear_error() -> None:
    router = Router([route("one", first, key="a")], views)
    assert "no route on 'one' matches" in str(router.no_consumer("one"))
    assert "has http.disconnect, http.request, one, websocket" in str(router.no_consumer("x"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: route("not a name", first), "is not a channel name"),
        (lambda: route("one", 5), "route('one') has the consumer 5, which cannot be called"),
        (
            lambda: route("one", "tests.site.consumers.none"),
            "names 'tests.site.consumers.none', and tests.site.consumers has no 'none'",
        ),
        (
            lambda: route("one", "tests.nowhere.none"),
            "there is no module 'tests.nowhere': correct the path",
        ),
        (lambda: route("one", "plain"), "a dotted path has a module and a name in it"),
        (lambda: route("one", first, path="("), "path='(' of a route is no regular expression"),
        (lambda: route_class(first), "which has no channel_names()"),
        (lambda: Router(5, views), "the routing is 5: it must be a list"),
        (lambda: Router([first], views), "each entry must be a route()"),
        (lambda: Router({"one": 5}, views), "has the consumer 5"),
        (
            lambda: Router([include("tests.nowhere.routes", path="^/")], views),
            "include('tests.nowhere.routes') names",
        ),
        (
            lambda: Router([include([route("one", first, path="x$")], path="^/")], views),
            "must begin with '^'",
        ),
        (
            lambda: Router([include([route("one", first, path="^x$")], path="^/$")], views),
            "must not end in '$'",
        ),
        (
            lambda: Router([include([route("one", first, path="^(?P<a>x)")], path="^(?P<a>/)")]),
            "do not make one regular expression",
        ),
    ],
)
def test_a_mistake_in_a_routing_is_told_in_one_line(make: Any, words: str) -> None:
    with pytest.raises(ImproperChannelLayers) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_import_error_within_the_routing_is_not_hidden(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_routing.py").write_text("import there_is_no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_module"):
        Router("broken_routing.channel_routing", views)


def test_routes_tell_what_they_are() -> None:
    assert repr(route("one", first, path="^/x")) == (
        "<route('one', tests.django.test_routing.first, path='^/x')>"
    )
