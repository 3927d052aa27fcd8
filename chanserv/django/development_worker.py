"""
The worker process of C{manage.py runserver}: C{python -m chanserv.django.development_worker},
started by it and by nobody else.

It is the worker of any supervisor, save that it looks the site over as Django's
C{runserver} does, shows on the console what is wrong, and begins with the words that
Django begins with.
"""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.core.management.color import color_style, no_style
from django.utils import autoreload

from chanserv.django.console import show_warnings
from chanserv.errors import ConfigurationError
from chanserv.running.child import Worker, find_code, main
from chanserv.site import load_site

if TYPE_CHECKING:
    from chanserv.running.config import Config


class DevelopmentWorker(Worker):
    """One worker process."""

    def _begin_log(self) -> None:
        """Nothing yet: what the site's C{LOGGING} says of it is not known."""

    def _load(self, config: Config) -> None:
        """
        Look the site over, and load it.

        @raise ConfigurationError: something is wrong with it; from the exception that
            says what, unless that is this one.
        """
        find_code(self._told_first)
        autoreload.ensure_echo_on()
        assert config.settings is not None
        try:
            load_site(config.settings)
        finally:
            show_warnings()
        autoreload.logger.info(
            "Watching for file changes with %s", autoreload.StatReloader.__name__
        )
        super()._load(replace(config, static_files=self._look_over()))

    def _look_over(self) -> bool:
        """
        Do what Django's command does before it serves.

        @return: whether to serve static files.
        """
        from chanserv.django.management.commands.runserver import serves_static

        told = self._orders["command"]
        module, name = told["kind"]
        options: dict[str, Any] = told["options"]
        command = getattr(import_module(module), name)(
            no_color=options["no_color"], force_color=options["force_color"]
        )
        try:
            command.look_over(options)
        except Exception as error:
            raise ConfigurationError(" ".join(str(error).split())) from error
        return serves_static(options)

    def _say_broken(self, error: ConfigurationError) -> None:
        """Show what is wrong, as Django does."""
        cause = error.__cause__
        style = no_style() if self._orders["command"]["options"]["no_color"] else color_style()
        if cause is None:
            sys.stderr.write(style.ERROR(f"Error: {error}") + "\n")
        elif isinstance(cause, CommandError):
            sys.stderr.write(style.ERROR(str(cause)) + "\n")
        else:
            traceback.print_exception(cause)
        sys.stderr.flush()
        self._link.say({"broken": True})


if __name__ == "__main__":
    code = main(DevelopmentWorker)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
