from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import Any

import pytest
from twisted.internet.task import Clock
from zope.interface import implementer

from chanserv.errors import ChannelFull, ConfigurationError
from chanserv.interfaces import IChannelLayer
from chanserv.layers import (
    MemoryChannelLayer,
    blocking_layer,
    face_of,
    from_spec,
    make_layer,
)
from chanserv.layers.asgi1 import Asgi1ChannelLayer


class Reactor(Clock):
    """As much of a reactor as making a layer takes."""

    def callFromThread(self, call: Any, *args: Any) -> None:
        self.callLater(0, call, *args)


@implementer(IChannelLayer)
class OtherLayer:
    """A third party's, by the look of it."""

    def __init__(self, hosts: list[str], *, prefix: str = "asgi") -> None:
        if hosts is None:
            raise ValueError("hosts must be a list")
        self.given = (hosts, prefix)


@implementer(IChannelLayer)
class LayerOfAnything:
    def __init__(self, **config: object) -> None:
        self.given = config


class SomeLayer:
    """One of the ASGI 1 kind."""

    def __init__(self, size: int = 1, **config: object) -> None:
        self.given = (size, config)
        self.sent: list[object] = []

    def send(self, channel: str, message: object) -> None:
        self.sent.append((channel, message))

    def receive(self, channels: object, block: bool = False) -> object:
        return None, None


class Refuses(SomeLayer):
    def __init__(self) -> None:
        raise OSError("cannot reach the store")


class Wrapper(SomeLayer):
    """As much as channel_layers["default"] has of one."""

    def __init__(self, face: Any) -> None:
        self.channel_layer = face


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the site's, with layers and other things in it."""
    module: Any = ModuleType("someones_site")
    module.layer = MemoryChannelLayer()
    module.number = 5
    module.OtherLayer = OtherLayer
    module.LayerOfAnything = LayerOfAnything
    module.some_layer = SomeLayer()
    module.SomeLayer = SomeLayer
    module.Refuses = Refuses
    module.channel_layer = blocking_layer("memory:?capacity=3", expiry=7)
    module.wrapper = Wrapper(module.channel_layer)
    module.face = face_of(module.layer, None)
    monkeypatch.setitem(sys.modules, "someones_site", module)
    return module  # type: ignore[no-any-return]


def make(spec: Any, **config: Any) -> Any:
    return make_layer(spec, Reactor(), config)


def capacity_of(layer: MemoryChannelLayer, channel: str) -> int:
    """How many messages go in."""
    number = 0
    while True:
        failures: list[Any] = []
        layer.send(channel, {}).addErrback(failures.append)
        if failures:
            assert failures[0].check(ChannelFull)
            return number
        number += 1


def refusal(spec: Any, **config: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        make(spec, **config)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestURL:
    def test_memory_alone_has_the_defaults(self) -> None:
        layer = make("memory:")
        assert isinstance(layer, MemoryChannelLayer)
        assert (layer.expiry, layer.group_expiry) == (60, 86_400)
        assert capacity_of(layer, "a") == 100

    def test_memory_takes_options(self) -> None:
        layer = make(
            "memory:?capacity=3&expiry=1.5&group_expiry=7&mailbox_capacity=2&max_message_size=5000"
            "&channel_capacity=big.*:5&channel_capacity=small:1"
        )
        assert (layer.expiry, layer.group_expiry) == (1.5, 7)
        assert [capacity_of(layer, name) for name in ("a", "p!x", "big.x", "small")] == [3, 2, 5, 1]

    def test_options_by_keyword_count_before_those_in_the_url(self) -> None:
        assert capacity_of(make("memory:?capacity=3", capacity=5), "a") == 5

    def test_it_lives_on_the_reactor_it_is_given(self) -> None:
        reactor = Reactor()
        layer = make_layer("memory:", reactor)
        layer.send("a", {})
        assert [call.getTime() for call in reactor.getDelayedCalls()] == [60]

    @pytest.mark.parametrize(
        ("spec", "says"),
        [
            ("memory:?size=5", r"no option 'size'; it has capacity, .*expiry"),
            ("memory:?capacity=many", "capacity must be a whole number, not 'many'"),
            ("memory:?capacity=", "capacity must be a whole number, not ''"),
            ("memory:?capacity=0", "capacity must be a whole number above 0, not 0"),
            ("memory:?expiry=soon", "expiry must be a number of seconds, not 'soon'"),
            ("memory:?expiry=nan", "expiry must be a number of seconds above 0"),
            ("memory:?channel_capacity=5", "a glob and a number, .*, not '5'"),
            (
                "memory:?channel_capacity=a:b",
                "channel_capacity 'a:b' after its ':' must be a whole",
            ),
            ("memory:mine", "a memory layer has no name"),
            ("memory://host", "a memory layer has no name"),
        ],
    )
    def test_what_is_wrong_with_memory_is_said_in_one_line(self, spec: str, says: str) -> None:
        assert re.search(says, refusal(spec))

    @pytest.mark.parametrize(
        "spec",
        [
            "amqp://localhost",
            "memory",
            "MEMORY:",
            "",
            ":",
            " memory:",
        ],
    )
    def test_an_unknown_scheme_is_answered_with_those_that_are_known(self, spec: str) -> None:
        message = refusal(spec)
        assert repr(spec) in message
        assert "known are 'ipc:', 'memory:', 'redis:', " in message

    def test_a_scheme_is_added_by_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        given: list[object] = []
        layer = MemoryChannelLayer()

        def maker(*args: object) -> MemoryChannelLayer:
            given.extend(args)
            return layer

        reactor = Reactor()
        monkeypatch.setitem(from_spec.SCHEMES, "ipc", maker)  # type: ignore[arg-type]
        assert make_layer("ipc:mysite?a=b", reactor, {"c": 1}) is layer
        assert given == ["mysite?a=b", reactor, {"c": 1}]
        assert "'ipc:', 'memory:'" in refusal("amqp:")

    def test_an_unknown_scheme_is_answered_without_its_password(self) -> None:
        assert "hush" not in refusal("amqp://me:hush@localhost,redis://:hush@h")


class Shards(MemoryChannelLayer):
    """Stands in for the Redis layer, whose own tests begin where it is made."""

    def __init__(self, hosts: Any, **config: Any) -> None:
        super().__init__()
        self.given = (hosts, config)

    @classmethod
    def for_reactor(cls, reactor: Any, **config: Any) -> Any:
        return cls(**config)


class TestRedisURL:
    @pytest.fixture(autouse=True)
    def made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module: Any = ModuleType("someones_redis")
        module.Shards = Shards
        monkeypatch.setitem(sys.modules, "someones_redis", module)
        monkeypatch.setattr(from_spec, "_REDIS", ("someones_redis", "Shards"))

    def test_options_of_servers_and_of_the_layer_are_told_apart(self) -> None:
        hosts, config = make(
            "redis://:pw@one/1?capacity=3&reply_timeout=4,rediss://two?prefix=x&verify=no"
            "&reader_lease=2.5"
            "&channel_capacity=a.*:5&redeliver=websocket.*&redeliver=b&capacity=3"
            "&symmetric_encryption_keys=k1&symmetric_encryption_keys=k2",
            expiry=9,
        ).given
        assert [host.name for host in hosts] == ["one:6379/1", "two:6379/0"]
        assert (hosts[0].password, hosts[0].reply_timeout) == ("pw", 4)
        assert config == {
            "capacity": 3,
            "prefix": "x",
            "reader_lease": 2.5,
            "channel_capacity": [("a.*", 5)],
            "redeliver": ["websocket.*", "b"],
            "symmetric_encryption_keys": ["k1", "k2"],
            "expiry": 9,
        }

    @pytest.mark.parametrize(
        "url",
        ["redis://h", "rediss://h", "redis+unix:///run/redis.sock", "redis+sentinel://h/mymaster"],
    )
    def test_each_way_to_a_server_has_its_scheme(self, url: str) -> None:
        assert isinstance(make(url), Shards)

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("redis:x", "no URL of a Redis server"),
            (
                "redis://h?size=5",
                "redis: has no option 'size'; it has ca_certs, capacity, .*prefix",
            ),
            ("redis://a?expiry=1,redis://b?expiry=2", "given expiry twice, and not alike"),
            ("redis://h?expiry=soon", "expiry must be a number of seconds"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, url: str, says: str) -> None:
        assert re.search(says, refusal(url))


@pytest.mark.usefixtures("site")
class TestDottedPath:
    def test_it_names_a_layer_that_is_there(self, site: Any) -> None:
        assert make("someones_site:layer") is site.layer

    @pytest.mark.parametrize(
        ("spec", "says"),
        [
            ("no_such_site:layer", "cannot import no_such_site: ModuleNotFoundError"),
            ("someones_site:nothing", "someones_site has no nothing"),
            ("someones_site:layer.nothing", "someones_site has no layer.nothing"),
            ("someones_site:number", "it gives int, which does not provide"),
            ("someones_site:OtherLayer", "which does not provide"),
            ("someones_site:SomeLayer", "it gives type, which does not provide"),
            ("someones_site:face", "is the blocking face of a channel layer"),
            ("someones_site:", "unknown channel layer"),
            ("someones_site.layer", "unknown channel layer"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, spec: str, says: str) -> None:
        assert says in refusal(spec)

    def test_a_module_that_fails_to_import_is_said_to(
        self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "failing_site.py").write_text("raise ValueError('two\\nlines')")
        monkeypatch.syspath_prepend(str(tmp_path))
        message = refusal("failing_site:layer")
        assert message.endswith("cannot import failing_site: ValueError: two lines")

    def test_a_layer_of_the_asgi_1_kind_stands_behind_an_adapter(self, site: Any) -> None:
        layer = make("someones_site:some_layer")
        assert isinstance(layer, Asgi1ChannelLayer)
        face_of(layer, None).send("a", {"b": 1})
        assert site.some_layer.sent == [("a", {"b": 1})]

    @pytest.mark.parametrize("name", ["channel_layer", "wrapper"])
    def test_the_face_that_an_asgi_py_has_leads_to_its_layer(self, name: str) -> None:
        layer = make(f"someones_site:{name}")
        assert isinstance(layer, MemoryChannelLayer)
        assert layer.expiry == 7
        assert capacity_of(layer, "a") == 3

    def test_it_takes_no_options(self) -> None:
        assert "already made: it takes no capacity" in refusal("someones_site:layer", capacity=5)


@pytest.mark.usefixtures("site")
class TestSettings:
    def test_a_backend_is_made_with_its_config(self) -> None:
        layer = make(
            {
                "BACKEND": "chanserv.layers.MemoryChannelLayer",
                "CONFIG": {"capacity": 2, "channel_capacity": {re.compile("big"): 4}},
                "ROUTING": "mysite.routing",
            }
        )
        assert [capacity_of(layer, name) for name in ("a", "bigger")] == [2, 4]

    @pytest.mark.parametrize("config", [{}, {"CONFIG": {}}, {"CONFIG": None}])
    def test_config_may_be_left_out(self, config: dict[str, Any]) -> None:
        layer = make({"BACKEND": "chanserv.layers.MemoryChannelLayer", **config})
        assert isinstance(layer, MemoryChannelLayer)

    def test_options_by_keyword_count_before_those_in_config(self) -> None:
        spec = {"BACKEND": "chanserv.layers.MemoryChannelLayer", "CONFIG": {"capacity": 2}}
        assert capacity_of(make(spec, capacity=3), "a") == 3

    def test_a_third_partys_layer_is_made_with_its_config(self) -> None:
        spec = {"BACKEND": "someones_site.OtherLayer", "CONFIG": {"hosts": ["a"], "prefix": "b"}}
        assert make(spec).given == (["a"], "b")
        spec = {"BACKEND": "someones_site.LayerOfAnything", "CONFIG": {"x": 1}}
        assert make(spec).given == {"x": 1}

    def test_a_layer_of_the_asgi_1_kind_needs_no_reactor_for_its_face(self, site: Any) -> None:
        made: list[SomeLayer] = []
        site.SomeLayer = lambda: made.append(SomeLayer()) or made[-1]
        blocking_layer({"BACKEND": "someones_site.SomeLayer"}).send("a", {"b": 1})
        assert made[-1].sent == [("a", {"b": 1})]

    def test_a_layer_of_the_asgi_1_kind_is_made_with_its_config(self) -> None:
        layer = make({"BACKEND": "someones_site.SomeLayer", "CONFIG": {"size": 5, "x": 1}})
        assert isinstance(layer, Asgi1ChannelLayer)
        assert layer._calls._layer.given == (5, {"x": 1})

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({}, "need BACKEND"),
            ({"BACKEND": None}, "need BACKEND"),
            ({"BACKEND": MemoryChannelLayer}, "need BACKEND"),
            ({"BACKEND": "Layer"}, "no dotted path"),
            ({"BACKEND": "no_such.Layer"}, "cannot import no_such"),
            ({"BACKEND": "someones_site.Nothing"}, "someones_site has no Nothing"),
            ({"BACKEND": "someones_site.number"}, "is no class"),
            ({"BACKEND": "builtins.dict"}, "it gives dict, which does not provide"),
            ({"BACKEND": "someones_site.Refuses"}, "is refused: cannot reach the store"),
            (
                {"BACKEND": "chanserv.layers.MemoryChannelLayer", "CONFIG": {"hosts": 1}},
                "unknown key 'hosts'; known are capacity, channel_capacity, expiry, group_expiry,",
            ),
            (
                {"BACKEND": "chanserv.layers.MemoryChannelLayer", "CONFIG": {"clock": 1}},
                "unknown key 'clock'",
            ),
            (
                {"BACKEND": "chanserv.layers.MemoryChannelLayer", "CONFIG": {5: 1}},
                "unknown key 5",
            ),
            (
                {"BACKEND": "chanserv.layers.MemoryChannelLayer", "CONFIG": ["capacity"]},
                "CONFIG of chanserv.layers.MemoryChannelLayer must be a mapping",
            ),
            *(
                (
                    {"BACKEND": f"chanserv.layers.{kind}", "CONFIG": {"channel_capacity": wrong}},
                    f"of patterns to capacities, such as {{'http.request': 500}}, not {wrong!r}",
                )
                for kind in ("MemoryChannelLayer", "IPCChannelLayer", "RedisChannelLayer")
                for wrong in (5, "http.request:5")
            ),
            (
                {"BACKEND": "chanserv.layers.RedisChannelLayer", "CONFIG": {"owner_lease": 2}},
                "owner_lease must not be below reader_lease, which is 3.5 seconds, not 2",
            ),
            ({"BACKEND": "someones_site.OtherLayer"}, "needs the key 'hosts'"),
            (
                {"BACKEND": "someones_site.OtherLayer", "CONFIG": {"hosts": None}},
                "CONFIG of someones_site.OtherLayer is refused: hosts must be a list",
            ),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, settings: dict[str, Any], says: str) -> None:
        assert says in refusal(settings)


@pytest.mark.parametrize("spec", [None, 5, b"memory:", ["memory:"]])
def test_what_is_no_spec_at_all_is_refused(spec: Any) -> None:
    assert "URL, a dotted path or a mapping" in refusal(spec)
