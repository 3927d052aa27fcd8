"""
C{manage.py runserver}: the whole of chanserv in one process, for development.

It is Django's own command (with the options of C{staticfiles}, where that is
installed) and another server within it.
"""

from __future__ import annotations

import sys
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

from chanserv import __version__
from chanserv.django.layers import DEFAULT_CHANNEL_LAYER, MEMORY_BACKEND, channel_layers
from chanserv.django.management.arguments import positive
from chanserv.errors import ConfigurationError
from chanserv.worker.team import DEFAULT_THREADS


class Command(StaticfilesCommand):
    """Django's C{runserver}, with WebSockets and consumers."""

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

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Check the site and serve it, in this thread."""
        self._asgi: bool = options["use_asgi"]
        self.server_cls = WSGIServer
        if self._asgi:
            from chanserv.django.development import ReactorServer

            self.server_cls = ReactorServer  # type: ignore[assignment]
        try:
            super().inner_run(*args, **options)
        except ConfigurationError as error:
            # Under the autoreloader this ends the thread, and a change to the
            # settings starts anew.
            self.stderr.write(f"Error: {error}")
            sys.exit(1)

    def get_handler(self, *args: Any, **options: Any) -> Any:
        """What the server is to serve."""
        if not options["use_asgi"]:
            return super().get_handler(*args, **options)
        from chanserv.django.development import Development

        threads: int = options["threads"] if options["use_threading"] else 1
        static_files: bool = options["use_static_handler"] and (
            settings.DEBUG or options["insecure_serving"]
        )
        self._threads = threads if options["run_worker"] else 0
        return Development(DEFAULT_CHANNEL_LAYER, self._threads, static_files)

    def on_bind(self, server_port: int) -> None:
        """Say where the server is, in Django's words."""
        if self._asgi:
            self._say_what_django_says(server_port)
            threads = f"{self._threads} worker thread{'' if self._threads == 1 else 's'}"
            backend = channel_layers[DEFAULT_CHANNEL_LAYER].settings.backend
            self.stdout.write(
                f"chanserv {__version__}: {threads}, channel layer "
                f"{DEFAULT_CHANNEL_LAYER!r} ({backend})"
            )
        else:
            super().on_bind(server_port)

    def _say_what_django_says(self, server_port: int) -> None:
        """From Django 6.1 on it speaks of a WSGI server, which this one is not."""
        said = StringIO()
        stdout, self.stdout = self.stdout, OutputWrapper(said)
        try:
            super().on_bind(server_port)
        finally:
            self.stdout = stdout
        stdout.write(said.getvalue().replace("Starting WSGI development", "Starting development"))
