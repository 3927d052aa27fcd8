"""
C{manage.py runworker}: workers of the site, and nothing else.

It is C{twistd chanserv --no-listen} with the site's own settings, in the
foreground.
"""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from twisted.logger import LogLevel

from chanserv.django.layers import DEFAULT_CHANNEL_LAYER
from chanserv.django.management.arguments import natural, positive
from chanserv.errors import ConfigurationError
from chanserv.worker.team import DEFAULT_STOP_TIMEOUT, DEFAULT_THREADS


class Command(BaseCommand):
    """Runs the site's consumers and views, for interface servers elsewhere."""

    help = (
        "Runs the site's consumers and views for interface servers in other processes. With "
        "--verbosity=2 it names each consumer that it runs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Those of C{twistd chanserv} that are for workers."""
        parser.add_argument(
            "--layer",
            default=DEFAULT_CHANNEL_LAYER,
            metavar="NAME",
            help="The channel layer: an alias in CHANNEL_LAYERS, a URL (ipc:mysite, "
            f"redis://host:6379/0) or the dotted path of one ({DEFAULT_CHANNEL_LAYER}).",
        )
        parser.add_argument(
            "--threads",
            type=positive,
            default=DEFAULT_THREADS,
            metavar="N",
            help=f"How many consumers and views run at once ({DEFAULT_THREADS}).",
        )
        parser.add_argument(
            "--workers",
            type=natural,
            default=0,
            metavar="N",
            help="How many worker processes to run and supervise, with --threads in each; 0 for "
            "threads in this process (0).",
        )
        parser.add_argument(
            "--only-channels",
            action="append",
            default=[],
            metavar="GLOB",
            help="Read only those of the site's channels that match, such as 'thumbnails.*'. "
            "May be given more than once.",
        )
        parser.add_argument(
            "--exclude-channels",
            action="append",
            default=[],
            metavar="GLOB",
            help="Do not read those of the site's channels that match. May be given more than "
            "once.",
        )
        parser.add_argument(
            "--release",
            default="",
            metavar="NAME",
            help="A label for this code, shown with its workers.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """
        Run workers, until told to stop.

        @raise CommandError: something is wrong with the options or the site.
        """
        from twisted.internet import reactor

        from chanserv.running.config import OnlyThisProcess
        from chanserv.running.foreground import log_to, run
        from chanserv.service import make_service

        verbosity: int = options["verbosity"]
        log_to(sys.stderr, LogLevel.info if verbosity else LogLevel.warn)
        try:
            service = make_service(_config(options), reactor)
        except OnlyThisProcess:
            raise CommandError(_only_this_process(options["layer"])) from None
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        run(service, reactor)


def _config(options: dict[str, Any]) -> Any:
    from chanserv.running.config import Config

    if not settings.SETTINGS_MODULE:
        raise ConfigurationError(
            "runworker needs the settings in a module: name it with --settings, or in "
            "DJANGO_SETTINGS_MODULE"
        )
    return Config(
        settings=settings.SETTINGS_MODULE,
        layer=options["layer"],
        listen=(),
        threads=options["threads"],
        stop_timeout=DEFAULT_STOP_TIMEOUT,
        workers=options["workers"],
        release=options["release"],
        only_channels=tuple(options["only_channels"]),
        exclude_channels=tuple(options["exclude_channels"]),
        narrate=options["verbosity"] > 1,
    )


def _only_this_process(layer: str) -> str:
    return (
        f"the channel layer {layer!r} is in memory and reaches only its own process, so nobody "
        f"could give a worker anything to do. Set a BACKEND in CHANNEL_LAYERS that processes "
        f"share, such as 'chanserv.layers.IPCChannelLayer', or name one with --layer=ipc:mysite; "
        f"or run the site in one process: manage.py runserver"
    )
