"""What Django loads for C{"chanserv.django"} in C{INSTALLED_APPS}."""

from __future__ import annotations

from django.apps import AppConfig


class ChanservConfig(AppConfig):
    """The app.  Its label is C{chanserv}: the default, C{django}, asks for clashes."""

    name = "chanserv.django"
    label = "chanserv"
    verbose_name = "chanserv"

    def ready(self) -> None:
        """Register the system checks and the guard of the reactor's thread."""
        from chanserv.django import checks, guard

        checks.register()
        guard.install()
