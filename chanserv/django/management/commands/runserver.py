"""
C{manage.py runserver}: the whole of chanserv, for development.

It is Django's own command (with the options of C{staticfiles}, where that is
installed) and another server within it.  Where Django would start all anew when a
file changes, this process stays, and with it the connections; a worker process is
replaced.
"""

from __future__ import annotations

import os
import sys
from enum import Enum
from io import StringIO
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.management.commands.runserver import (
    Command as StaticfilesCommand,
)
from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.core.management.commands.runserver import Command as DjangoCommand
from django.core.servers.basehttp import WSGIServer
from django.utils import autoreload

from chanserv import __version__
from chanserv.django.layers import DEFAULT_CHANNEL_LAYER, MEMORY_BACKEND, channel_layers
from chanserv.django.management.arguments import positive
from chanserv.errors import ConfigurationError
from chanserv.worker.team import DEFAULT_THREADS


class _Role(Enum):
    """What a process of the command is for."""

    DJANGO = "django"
    """To be Django's own server."""

    WHOLE = "whole"
    """To serve connections, and the site unless others do."""

    FRONT = "front"
    """To serve connections, and to have a worker process run the site."""

    WORKER = "worker"
    """To be that worker process."""


class NoServer:
    """What stands for the server in a process that only does what comes before it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def set_app(self, application: object) -> None:
        """Take no notice."""

    def serve_forever(self) -> None:
        """Return at once."""


class Command(StaticfilesCommand):
    """Django's C{runserver}, with WebSockets and consumers."""

    _role = _Role.DJANGO

    help = (
        "Starts a development server that serves pages, static files and WebSockets, and runs "
        "the site's consumers."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add to the options of Django's command."""
        if apps.is_installed("django.contrib.staticfiles"):
            super().add_arguments(parser)
        else:
            DjangoCommand.add_arguments(self, parser)
            parser.set_defaults(use_static_handler=False, insecure_serving=False)
        parser.add_argument(
            "--threads",
            type=positive,
            default=DEFAULT_THREADS,
            help=f"How many consumers and views run at once ({DEFAULT_THREADS}).",
        )
        parser.add_argument(
            "--noworker",
            action="store_false",
            dest="run_worker",
            help="Run no consumers and views here: other processes do, over a channel layer "
            "that they reach.",
        )
        parser.add_argument(
            "--noasgi",
            action="store_false",
            dest="use_asgi",
            help="Serve plain HTTP as Django's own runserver does, without WebSockets.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """
        Look at the options, and serve.

        @raise CommandError: they are wrong.
        """
        if options["use_asgi"] and not options["run_worker"]:
            self._check_that_others_can_work()
        super().handle(*args, **options)

    def _check_that_others_can_work(self) -> None:
        try:
            backend = channel_layers[DEFAULT_CHANNEL_LAYER].settings.backend
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        if backend == MEMORY_BACKEND:
            raise CommandError(
                f"--noworker leaves nobody to answer: {MEMORY_BACKEND} reaches only this "
                f"process. Set another BACKEND in CHANNEL_LAYERS[{DEFAULT_CHANNEL_LAYER!r}], "
                f"or leave --noworker out."
            )

    def run(self, **options: Any) -> None:
        """
        Serve, as a whole or as the front of a worker process that is replaced when
        a file changes.
        """
        works_apart = options["use_reloader"] and options["run_worker"]
        if not options["use_asgi"]:
            super().run(**options)
        elif works_apart and settings.SETTINGS_MODULE:
            self._role = _Role.FRONT
            self._given = plain(options)
            # Whoever asks whether this is a process that serves should hear yes.
            os.environ[autoreload.DJANGO_AUTORELOAD_ENV] = "true"
            self.inner_run(None, **{**options, "skip_checks": True})
        else:
            self._role = _Role.WHOLE
            if works_apart:
                # Settings that are in no module no other process could load.
                super().run(**options)
            else:
                self.inner_run(None, **options)

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Check the site and serve it, in this thread."""
        self.server_cls = WSGIServer
        if self._role is not _Role.DJANGO:
            from chanserv.django.development import ReactorServer

            self.server_cls = ReactorServer  # type: ignore[assignment]
        try:
            super().inner_run(*args, **options)
        except ConfigurationError as error:
            # Under Django's autoreloader this ends the thread, and a change to the
            # settings starts anew.
            self.stderr.write(f"Error: {error}")
            sys.exit(1)

    def look_over(self, options: dict[str, Any]) -> None:
        """
        Do all that Django's command does before it serves, in a worker process.

        @param options: of the command.
        @raise Exception: something is wrong with the site.
        """
        self._role = _Role.WORKER
        self.server_cls = NoServer  # type: ignore[assignment]
        self.addr, self.port, self.use_ipv6 = "", "0", False
        super().inner_run(None, **options)

    def check_migrations(self) -> None:
        """Say what is not applied; where workers run the site, they say it."""
        if self._role is not _Role.FRONT:
            super().check_migrations()

    def get_handler(self, *args: Any, **options: Any) -> Any:
        """What the server is to serve."""
        if self._role is _Role.DJANGO:
            return super().get_handler(*args, **options)
        if self._role is _Role.WORKER:
            return None
        from chanserv.django.development import Front, WholeSite

        threads: int = options["threads"] if options["use_threading"] else 1
        self._threads = threads if options["run_worker"] else 0
        if self._role is _Role.WHOLE:
            return WholeSite(DEFAULT_CHANNEL_LAYER, self._threads, serves_static(options))
        return Front(
            DEFAULT_CHANNEL_LAYER,
            threads,
            {"kind": [type(self).__module__, type(self).__qualname__], "options": self._given},
            self._say_that_it_works,
            self._say_that_it_is_new,
            self._say_that_it_is_broken,
        )

    def on_bind(self, server_port: int) -> None:
        """Say where the server is, in Django's words; as soon as it works."""
        self._server_port = server_port
        if self._role is _Role.DJANGO:
            super().on_bind(server_port)
        elif self._role is _Role.WHOLE:
            self._say_what_django_says(server_port)
            backend = channel_layers[DEFAULT_CHANNEL_LAYER].settings.backend
            self._say_what_runs(f"{DEFAULT_CHANNEL_LAYER!r} ({backend})")

    def _say_that_it_works(self, private: str | None) -> None:
        self._say_what_django_says(self._server_port)
        backend = channel_layers[DEFAULT_CHANNEL_LAYER].settings.backend
        if private is None:
            self._say_what_runs(f"{DEFAULT_CHANNEL_LAYER!r} ({backend})")
        else:
            self._say_what_runs(
                f"private to this run ({private.partition('?')[0]}), for {backend} reaches no "
                f"other process"
            )

    def _say_what_runs(self, layer: str) -> None:
        threads = f"{self._threads} worker thread{'' if self._threads == 1 else 's'}"
        own = "its" if self._threads == 1 else "their"
        where = f" in a process of {own} own" if self._role is _Role.FRONT else ""
        self.stdout.write(f"chanserv {__version__}: {threads}{where}, channel layer {layer}")
        self.stdout.flush()

    def _say_that_it_is_new(self) -> None:
        self.stdout.write("The new code is at work; sockets have stayed open.")
        self.stdout.flush()

    def _say_that_it_is_broken(self, goes_on: bool) -> None:
        meanwhile = "; until then the code from before goes on" if goes_on else ""
        self.stderr.write(f"The next change of a file tries again{meanwhile}.")
        self.stderr.flush()

    def _say_what_django_says(self, server_port: int) -> None:
        """From Django 6.1 on it speaks of a WSGI server, which this one is not."""
        said = StringIO()
        stdout, self.stdout = self.stdout, OutputWrapper(said)
        try:
            super().on_bind(server_port)
        finally:
            self.stdout = stdout
        stdout.write(said.getvalue().replace("Starting WSGI development", "Starting development"))


def serves_static(options: dict[str, Any]) -> bool:
    """Whether to serve static files, by the options of the command."""
    return bool(options["use_static_handler"] and (settings.DEBUG or options["insecure_serving"]))


def plain(options: dict[str, Any]) -> dict[str, Any]:
    """Those of the command's options that another process can be told."""
    kinds = (str, int, float, bool, list)
    return {name: one for name, one in options.items() if one is None or isinstance(one, kinds)}
