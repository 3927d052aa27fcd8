"""The layers of the old stack, as an old settings file names them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from chanserv.errors import ConfigurationError
from chanserv.layers import (
    IPCChannelLayer,
    MemoryChannelLayer,
    RedisChannelLayer,
    RedisLocalChannelLayer,
    make_layer,
)
from chanserv.layers.asgi1 import Asgi1ChannelLayer
from chanserv.layers.former import FORMER_BACKENDS, present_backend


class Installed:
    """A layer of the old stack, as far as it is looked at."""

    def __init__(self, expiry: int = 60, hosts: Any = None) -> None:
        self.expiry = expiry

    def send(self, channel: str, message: Any) -> None: ...

    def receive(self, channels: Any, block: bool = False) -> Any: ...


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What is logged."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        if event["log_namespace"] == "chanserv.layers.former":
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in this environment."""
    for name in {backend.partition(".")[0] for backend in FORMER_BACKENDS} - {"asgiref"}:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "asgiref.inmemory", None)


class Reactor(MemoryReactorClock):  # type: ignore[misc]
    def callFromThread(self, call: Any, *args: Any) -> None:
        self.callLater(0, call, *args)


def make(backend: str, **config: Any) -> Any:
    return make_layer({"BACKEND": backend, "CONFIG": config}, Reactor())


@pytest.mark.parametrize(
    ("backend", "present", "config"),
    [
        (
            "asgiref.inmemory.ChannelLayer",
            MemoryChannelLayer,
            {"expiry": 7, "group_expiry": 11, "capacity": 5, "channel_capacity": {"a.*": 3}},
        ),
        (
            "asgi_ipc.IPCChannelLayer",
            IPCChannelLayer,
            {
                "prefix": "mysite/",
                "expiry": 7,
                "group_expiry": 11,
                "capacity": 10,
                "channel_capacity": None,
                "message_memory": 100 * 1024 * 1024,
                "group_memory": 20 * 1024 * 1024,
            },
        ),
        (
            "asgi_redis.RedisChannelLayer",
            RedisChannelLayer,
            {
                "expiry": 7,
                "hosts": [
                    ("localhost", 6400),
                    "redis://:secret@other:6401/2",
                    "unix:///r.sock?db=1",
                ],
                "prefix": "mysite:",
                "group_expiry": 11,
                "capacity": 100,
                "channel_capacity": {"http.request": 200, re.compile("http.response"): 1_000},
                "symmetric_encryption_keys": ["one", "two"],
                "stats_prefix": "mysite-meta:",
                "connection_kwargs": {"socket_timeout": 10},
            },
        ),
        (
            "asgi_redis.RedisChannelLayer",
            RedisChannelLayer,
            {"expiry": 7, "group_expiry": 11, "hosts": None},
        ),
        (
            "asgi_redis.RedisLocalChannelLayer",
            RedisLocalChannelLayer,
            {
                "expiry": 7,
                "hosts": [("localhost", 6400)],
                "prefix": "mysite:",
                "group_expiry": 11,
                "capacity": 100,
                "channel_capacity": {"http.request": 200},
                "symmetric_encryption_keys": ["one"],
                "stats_prefix": "mysite-meta:",
                "connection_kwargs": {},
            },
        ),
        (
            "asgi_redis.RedisSentinelChannelLayer",
            RedisChannelLayer,
            {
                "expiry": 7,
                "group_expiry": 11,
                "hosts": [("one", 26379), ("two", 26379)],
                "services": ["mymaster"],
                "sentinel_refresh_interval": 5,
                "connection_kwargs": {"socket_timeout": 10},
            },
        ),
    ],
)
def test_where_it_is_not_installed_our_own_serves_with_its_config_and_says_so(
    backend: str, present: type, config: dict[str, Any], log: list[str]
) -> None:
    layer = make(backend, **config)
    assert type(layer) is present
    assert (layer.expiry, layer.group_expiry) == (7, 11)
    assert log[0].startswith(f"BACKEND {backend} is not installed")
    assert f"chanserv.layers.{present.__name__} serves in its place" in log[0]


def test_keys_without_a_meaning_here_are_named_once(log: list[str]) -> None:
    config = {"prefix": "x", "message_memory": 1, "group_memory": 2}
    assert present_backend("asgi_ipc.IPCChannelLayer", config) == (
        "chanserv.layers.IPCChannelLayer",
        {"prefix": "x"},
    )
    (line,) = [one for one in log if "no use for" in one]
    assert "group_memory, message_memory" in line
    assert config == {"prefix": "x", "message_memory": 1, "group_memory": 2}


@pytest.mark.parametrize(
    "backend", [backend for backend in sorted(FORMER_BACKENDS) if "asgi_redis" in backend]
)
def test_what_only_redis_py_had_a_use_for_is_named_once(backend: str, log: list[str]) -> None:
    kwargs = {"socket_timeout": 10, "socket_keepalive": True, "max_connections": 5}
    config = {"connection_kwargs": kwargs, "services": ["main"]}
    if "Sentinel" not in backend:
        del config["services"]
    assert make(backend, **config) is not None
    (line,) = [one for one in log if "no use for" in one]
    assert "max_connections of connection_kwargs, socket_keepalive of connection_kwargs" in line
    assert kwargs == {"socket_timeout": 10, "socket_keepalive": True, "max_connections": 5}
    assert present_backend(backend, config)[1]["connection_kwargs"] == {"socket_timeout": 10}


@pytest.mark.parametrize("backend", sorted(FORMER_BACKENDS))
def test_keys_that_never_had_a_meaning_are_refused(backend: str) -> None:
    services = {"services": ["one"]} if "Sentinel" in backend else {}
    with pytest.raises(ConfigurationError, match=r"unknown key 'colour'; known are .*capacity"):
        make(backend, colour="red", **services)


def test_sentinels_and_services_may_be_given_as_ours_are_too() -> None:
    config = {"sentinels": [("one", 1)], "services": ["main"]}
    assert present_backend("asgi_redis.RedisSentinelChannelLayer", config)[1] == config


def test_without_hosts_sentinel_is_this_machines() -> None:
    _, config = present_backend("asgi_redis.RedisSentinelChannelLayer", {"services": ["main"]})
    assert config == {"sentinels": [("localhost", 26379)], "services": ["main"]}


def test_where_it_is_installed_it_serves(monkeypatch: pytest.MonkeyPatch, log: list[str]) -> None:
    package: Any = ModuleType("asgi_redis")
    package.RedisChannelLayer = Installed
    monkeypatch.setitem(sys.modules, "asgi_redis", package)
    layer = make("asgi_redis.RedisChannelLayer", expiry=5)
    assert isinstance(layer, Asgi1ChannelLayer)
    assert layer.expiry == 5
    assert log == []


def test_where_it_is_installed_and_broken_our_own_serves_and_the_log_says_why(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    (tmp_path / "asgi_ipc.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "asgi_ipc")
    assert isinstance(make("asgi_ipc.IPCChannelLayer"), IPCChannelLayer)
    assert re.search("asgi_ipc is installed and cannot be used: .*no_such_library", log[0])


def test_other_backends_are_left_alone(log: list[str]) -> None:
    config = {"hosts": ["unix:///x"], "message_memory": 1}
    assert present_backend("somebodys.Layer", config) == ("somebodys.Layer", config)
    assert log == []
