"""The pages name the options that there are, each with its default, and no others."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from chanserv.layers import (
    IPCChannelLayer,
    MemoryChannelLayer,
    RedisChannelLayer,
    RedisLocalChannelLayer,
    from_spec,
    make_layer,
)
from chanserv.layers.former import FORMER_BACKENDS
from chanserv.layers.redis.server_options import OPTIONS
from tests.docs.pages import options, section, text
from tests.layers.redis.test_contract import RIGHTS

NOT_FOR_OPERATORS = {"clock", "call_from_thread", "reactor", "clock_offset", "guest"}
"""Parameters that come from the process or a test, not from settings."""

FOR_ALL = options(section("layers", "layer-options"))


def parameters(kind: type) -> dict[str, Any]:
    """What a layer's class takes from C{CONFIG}, with its defaults."""
    return {
        name: one.default
        for name, one in inspect.signature(kind).parameters.items()
        if name not in NOT_FOR_OPERATORS
    }


LAYERS = [
    (MemoryChannelLayer, section("layers", "memory-layer")),
    (IPCChannelLayer, text("ipc")),
    (RedisChannelLayer, text("redis")),
]


@pytest.mark.parametrize(("kind", "page"), LAYERS, ids=lambda one: getattr(one, "__name__", ""))
class TestEachLayer:
    def test_has_every_option_explained(self, kind: type, page: str) -> None:
        explained = {**FOR_ALL, **options(page)}
        assert set(parameters(kind)) - set(explained) == set()

    def test_has_every_option_that_is_explained(self, kind: type, page: str) -> None:
        explained = {**FOR_ALL, **options(page)}
        assert set(explained) - set(parameters(kind)) == set()

    def test_has_the_defaults_that_the_page_says(self, kind: type, page: str) -> None:
        has = parameters(kind)
        for name, default in {**FOR_ALL, **options(page)}.items():
            if default is None:
                assert has[name] is None or not has[name], f"{name} has a default"
            else:
                assert (
                    f"{has[name]:g}"
                    if isinstance(has[name], float)
                    else str(has[name]) == (default)
                ), f"the default of {name}"


IN_SETTINGS_ALONE = {"hosts", "sentinels", "services", "connection_kwargs"}
"""What a URL says before its C{?}, or for each server."""

TEXTS = {
    "channel_capacity": "jobs.*:5",
    "redeliver": "jobs.*",
    "directory": "/tmp/somewhere",
    "prefix": "text:",
    "stats_prefix": "text:",
    "symmetric_encryption_keys": "text",
}
"""Values of options that are no numbers."""


class Reactor(MemoryReactorClock):
    """One that is never run."""

    def callFromThread(self, *args: object) -> None:
        raise AssertionError("nothing calls from a thread")


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryChannelLayer),
        ("ipc:bench", IPCChannelLayer),
        ("redis://127.0.0.1:1/0", RedisChannelLayer),
    ],
)
def test_every_option_can_stand_in_a_url(url: str, kind: type) -> None:
    for name in set(parameters(kind)) - IN_SETTINGS_ALONE:
        if (url, name) == ("ipc:bench", "prefix"):
            continue
        layer = make_layer(f"{url}?{name}={TEXTS.get(name, '7')}", Reactor())
        assert isinstance(layer, kind)


def test_every_scheme_of_a_url_is_on_a_page() -> None:
    pages = text("layers") + text("ipc") + text("redis")
    for scheme in from_spec.SCHEMES:
        assert f"``{scheme}:" in pages, f"{scheme}: is on no page"


def test_every_old_name_is_in_the_table_and_no_others() -> None:
    table = section("layers", "old-names")
    named = set(re.findall(r"^``([\w.]+)``  ", table, re.MULTILINE)) - {"BACKEND"}
    assert named == set(FORMER_BACKENDS)


def test_the_split_layer_takes_what_its_two_parts_take_and_no_more() -> None:
    assert set(parameters(RedisLocalChannelLayer)) == (
        set(parameters(RedisChannelLayer)) | {"directory"}
    )


def test_every_option_of_a_redis_server_is_on_its_page() -> None:
    page = text("redis")
    for option in OPTIONS:
        assert re.search(rf"(``|\s){option}\b", page), f"{option} is on no page"


def test_every_class_named_as_a_backend_is_there() -> None:
    pages = "".join(map(text, ("layers", "ipc", "redis", "django", "start", "contract")))
    named = set(re.findall(r"chanserv\.layers\.(\w+ChannelLayer)", pages))
    layers = import_module("chanserv.layers")
    assert {name for name in named if not hasattr(layers, name)} == set()


def test_the_rights_on_the_page_are_those_that_the_contract_is_kept_with() -> None:
    (written,) = re.findall(r"^ +(-@all .*)$", text("redis"), re.MULTILINE)
    assert written == f"{RIGHTS} +info"
