"""CHANNEL_LAYERS, the names of the package, the checks, and the guard of the reactor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.db import connections
from django.test import override_settings
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

import chanserv.django
from chanserv.django import channel_layers, get_channel_layer
from chanserv.django.exceptions import ImproperChannelLayers
from chanserv.errors import ConfigurationError
from chanserv.interfaces import IBlockingChannelLayer
from tests.django.site_runner import SiteRunner

ROOT = Path(__file__).resolve().parents[2]
MEMORY = "chanserv.layers.MemoryChannelLayer"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("memory:", "CHANNEL_LAYERS is 'memory:': it must be a dict of aliases"),
        ({"default": MEMORY}, "CHANNEL_LAYERS['default'] is 'chanserv.layers.Memory"),
        (
            {"default": {"BACKENDS": MEMORY}},
            "CHANNEL_LAYERS['default'] has the unknown key 'BACKENDS': it knows BACKEND, CONFIG",
        ),
        ({"default": {"BACKEND": 5}}, "CHANNEL_LAYERS['default']['BACKEND'] is 5: it must be"),
        (
            {"default": {"BACKEND": MEMORY, "CONFIG": []}},
            "CHANNEL_LAYERS['default']['CONFIG'] is []: it must be a dict",
        ),
        ({"other": {}}, "there is no channel layer 'default': CHANNEL_LAYERS has 'other'"),
        ({}, "there is no channel layer 'default': CHANNEL_LAYERS has none"),
        (
            {"default": {"ROUTING": "tests.site.routing.none"}},
            "names 'tests.site.routing.none', and tests.site.routing has no 'none'",
        ),
        (
            {"default": {"BACKEND": "chanserv.layers.NoLayer"}},
            "chanserv.layers has no NoLayer",
        ),
        (
            {"default": {"BACKEND": MEMORY, "CONFIG": {"capcity": 5}}},
            "has the unknown key 'capcity'",
        ),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(value: Any, words: str) -> None:
    def use() -> None:
        _ = channel_layers["default"].router
        _ = channel_layers["default"].channel_layer

    with override_settings(CHANNEL_LAYERS=value), pytest.raises(ConfigurationError) as caught:
        use()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_setting_is_improper_to_django_too() -> None:
    assert issubclass(ImproperChannelLayers, ImproperlyConfigured)


def test_layers_are_made_from_their_settings() -> None:
    layers = {"default": {"BACKEND": MEMORY, "CONFIG": {"expiry": 5, "capacity": 3}}}
    with override_settings(CHANNEL_LAYERS=layers):
        face = get_channel_layer()
        assert IBlockingChannelLayer.providedBy(face)
        assert face.expiry == 5
        assert face is get_channel_layer("default")
        assert channel_layers["default"].settings.spec == layers["default"]
        assert "default" in channel_layers
        assert list(channel_layers) == ["default"]


def test_a_wrapper_offers_what_its_layer_does(site: SiteRunner) -> None:
    wrapper = channel_layers["default"]
    wrapper.send("one", {"a": 1})
    assert wrapper.send_batch([]) == []
    assert wrapper.receive(["one"]) == ("one", {"a": 1})
    wrapper.group_add("all", "one")
    assert wrapper.group_channels("all") == ["one"]
    wrapper.group_discard("all", "one")
    wrapper.send_group("all", {})
    assert "groups" in wrapper.extensions
    assert wrapper.new_channel("a?").startswith("a?")
    assert wrapper.routing == "tests.site.routing.channel_routing"
    assert "note" in wrapper.router.channels
    for _ in range(100):
        wrapper.send("two", {})
    with pytest.raises(wrapper.ChannelFull):
        wrapper.send("two", {})
    with pytest.raises(AttributeError):
        _ = wrapper._none
    assert repr(wrapper) == f"<ChannelLayerWrapper 'default': {MEMORY}>"


def test_the_site_passes_its_checks() -> None:
    assert run_checks() == []


def test_a_wrong_routing_is_an_error_of_the_checks() -> None:
    with override_settings(CHANNEL_LAYERS={"default": {"ROUTING": 5}}):
        (error,) = run_checks(tags=["chanserv"])
    assert error.id == "chanserv.E002"
    with override_settings(CHANNEL_LAYERS=[]):
        (error,) = run_checks(tags=["chanserv"])
    assert error.id == "chanserv.E001"


def test_staticfiles_above_chanserv_is_a_warning_of_the_checks() -> None:
    names = [name for name in settings.INSTALLED_APPS if name != "chanserv.django"]
    with override_settings(INSTALLED_APPS=[*names, "chanserv.django"]):
        (warning,) = run_checks(tags=["chanserv"])
    assert warning.id == "chanserv.W001"
    assert "Move 'chanserv.django' above" in (warning.hint or "")


def test_every_name_of_the_package_is_there() -> None:
    for name in chanserv.django.__all__:
        assert getattr(chanserv.django, name) is not None, name
    assert set(chanserv.django.__all__) == set(chanserv.django._HOME_OF)
    assert set(chanserv.django.__all__) <= set(dir(chanserv.django))
    with pytest.raises(AttributeError, match="no attribute 'Chanel'"):
        _ = chanserv.django.Chanel


def test_an_asgi_module_of_channels_finds_its_names() -> None:
    from chanserv.django import asgi

    assert asgi.get_channel_layer is get_channel_layer
    assert asgi.channel_layers is channel_layers


def python(code: str, **environment: str) -> str:
    """Run code in a new interpreter, and return what it prints."""
    names = {key: value for key, value in os.environ.items() if not key.startswith("DJANGO")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={**names, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_importing_the_package_needs_no_settings() -> None:
    code = (
        "import sys, chanserv.django\n"
        "from chanserv.django import Channel, Group, route, include, ConsumeLater, Message\n"
        "from chanserv.django import WebsocketConsumer, channel_layers, consumer_started\n"
        "from chanserv.django import AsgiHandler, AsgiRequest, ViewConsumer\n"
        "print('twisted.internet.reactor' in sys.modules)"
    )
    assert python(code) == "False\n"


def test_the_channel_layer_loads_the_site_where_nothing_has() -> None:
    code = (
        "from chanserv.django import get_channel_layer\n"
        "get_channel_layer().send('note', {'a': 1})\n"
        "print(get_channel_layer().receive(['note']))"
    )
    told = python(code, DJANGO_SETTINGS_MODULE="tests.site.settings")
    assert told == "('note', {'a': 1})\n"


@pytest.mark.parametrize(
    ("settings_module", "words"),
    [
        ("tests.site.setings", "there are no settings 'tests.site.setings': Python finds no"),
        ("nowhere.settings", "finds no module 'nowhere'"),
        ("", "no settings are named: give --settings=mysite.settings, or set DJANGO_SETTINGS"),
        (
            "tests.django.settings_without_apps",
            "the settings 'tests.django.settings_without_apps' are wrong",
        ),
    ],
)
def test_settings_that_cannot_be_loaded_are_told_in_one_line(
    settings_module: str, words: str
) -> None:
    code = (
        "from chanserv.django.application import load_site\n"
        "from chanserv.errors import ConfigurationError\n"
        "try:\n"
        f"    load_site({settings_module!r} or None)\n"
        "except ConfigurationError as error:\n"
        "    print(error)"
    )
    told = python(code)
    assert words in told
    assert told.count("\n") == 1


class ReactorGuardTests(TestCase):
    """The database belongs to threads that may wait."""

    def tearDown(self) -> None:
        connections.close_all()

    def test_the_database_is_refused_on_the_reactors_thread(self) -> Deferred[None]:
        def use_it_twice() -> None:
            for _ in range(2):
                with pytest.raises(SynchronousOnlyOperation, match="on the reactor's thread"):
                    connections["default"].ensure_connection()

        from twisted.internet import reactor

        connections.close_all()
        return deferLater(reactor, 0, use_it_twice)  # type: ignore[arg-type]

    def test_the_database_is_open_to_other_threads(self) -> Deferred[None]:
        def ask() -> object:
            try:
                with connections["default"].cursor() as cursor:
                    return cursor.execute("select 7").fetchone()[0]
            finally:
                connections.close_all()

        return deferToThread(ask).addCallback(self.assertEqual, 7)
