"""C{python -m chanserv}: commands that look at what runs.  C{twistd chanserv} serves."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from chanserv import __version__
from chanserv.errors import ConfigurationError
from chanserv.layers.redis.server_options import without_secrets
from chanserv.ops.top.command import LEAST_EVERY, Asked, run_top


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Do what the command line says.

    @return: the exit code.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        return _top(options)
    except ConfigurationError as error:
        sys.stderr.write(f"chanserv top: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chanserv",
        description="Look at running processes of chanserv.",
        epilog="To serve, use 'twistd chanserv'; see 'twistd chanserv --help'.",
    )
    parser.add_argument("--version", action="version", version=f"chanserv {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    top = commands.add_parser(
        "top",
        help="show how a running system does, refreshed each second",
        description="Show how a running system does: its processes and workers, busiest "
        "channels and slowest consumers, refreshed each second.",
        epilog="Keys: q quits, p pauses; o, w, r, c and s show all in short, workers, "
        "releases, channels and the slowest consumers.",
    )
    top.add_argument(
        "--layer",
        metavar="LAYER",
        help="the channel layer of the processes to look at: a URL, a dotted path, or, with "
        "--settings, an alias in CHANNEL_LAYERS",
    )
    top.add_argument(
        "--settings",
        metavar="MODULE",
        help="the settings of a Django site, for its CHANNEL_LAYERS; without --layer, its "
        "default layer is meant",
    )
    top.add_argument(
        "--every",
        metavar="SECONDS",
        type=float,
        default=1.0,
        help=f"seconds between two looks, {LEAST_EVERY:g} or more (1)",
    )
    top.add_argument("--once", action="store_true", help="print one page of plain text, and end")
    top.add_argument(
        "--json", action="store_true", help="print what is known as a line of JSON for each look"
    )
    return parser


def _top(options: argparse.Namespace) -> int:
    asked = Asked(options.every, options.once, options.json)
    spec = _layer_named(options.layer, options.settings)
    shown = without_secrets(spec if isinstance(spec, str) else str(spec.get("BACKEND", spec)))
    return run_top(spec, shown, asked, os.environ)


def _layer_named(layer: str | None, settings: str | None) -> Any:
    """
    What to make the layer from that is meant.

    @raise ConfigurationError: none is.
    """
    if settings is None:
        if layer is None:
            raise ConfigurationError(
                "say which system to look at: give --layer with the layer that its processes "
                "were started with, such as --layer=ipc:mysite, or --settings with those of "
                "the site"
            )
        return layer
    from chanserv.site import read_settings

    return read_settings(settings).layer_of(layer)[0]


if __name__ == "__main__":
    sys.exit(main())
