"""System checks: what is wrong with a site's settings, before it serves anyone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning
from django.core.checks import register as register_check

from chanserv.django.exceptions import ImproperChannelLayers

STATICFILES = "django.contrib.staticfiles"


def register() -> None:
    """Add the checks to Django's."""
    register_check(check_channel_layers, "chanserv")
    register_check(check_runserver_order, "chanserv")


def check_channel_layers(
    app_configs: Sequence[Any] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Whether C{CHANNEL_LAYERS} and each routing in it can be used."""
    from chanserv.django.layers import read_settings
    from chanserv.django.routing import Router

    try:
        entries = read_settings()
    except ImproperChannelLayers as error:
        return [Error(str(error), id="chanserv.E001")]
    problems: list[CheckMessage] = []
    for entry in entries.values():
        try:
            Router.for_layer(entry)
        except ImproperChannelLayers as error:
            problems.append(Error(str(error), id="chanserv.E002"))
    return problems


def check_runserver_order(
    app_configs: Sequence[Any] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Whether C{manage.py runserver} is the one of this package."""
    names = [config.name for config in apps.get_app_configs()]
    if STATICFILES not in names or names.index("chanserv.django") < names.index(STATICFILES):
        return []
    return [
        Warning(
            f"{STATICFILES!r} stands above 'chanserv.django' in INSTALLED_APPS, so "
            f"'manage.py runserver' is Django's own, without WebSockets",
            hint=f"Move 'chanserv.django' above {STATICFILES!r}.",
            id="chanserv.W001",
        )
    ]
