"""
A Django site as far as running it goes: what layer it names, and the threads that
run its consumers.

All that is wrong with a site's settings or code is answered by one line that
says where.
"""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

from chanserv.errors import ConfigurationError
from chanserv.interfaces import IChannelLayer
from chanserv.layers.blocking import face_of
from chanserv.layers.reach import within_process
from chanserv.worker.choice import narrowed
from chanserv.worker.narration import Narrated
from chanserv.worker.team import ThreadTeam

_NOT_THE_SITE: Final = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    os.path.dirname(__file__),
)
"""Directories whose code is not the site's: Python's, installed packages, ours."""


def _django_side() -> ModuleType:
    try:
        from chanserv.django import application
    except ModuleNotFoundError as error:
        if error.name != "django":
            raise
        raise ConfigurationError(
            "--settings needs Django, which is not installed here: pip install django"
        ) from error
    return application


class Site:
    """
    A Django site that has been loaded: see L{load_site}.

    @ivar settings: the dotted path of its settings.
    """

    def __init__(self, settings: str) -> None:
        from chanserv.django.layers import channel_layers

        self.settings = settings
        self._layers = channel_layers

    def layer_of(self, named: str | None) -> tuple[Any, str]:
        """
        Find the layer that an operator means.

        @param named: an alias in C{CHANNEL_LAYERS}, a URL or a dotted path;
            L{None} for the site's default.
        @return: what to make it from, and the alias whose routing goes with it.
        """
        known = self._layers.configs
        alias = named or "default"
        if alias in known:
            return known[alias].spec, alias
        if named is None or re.fullmatch(r"\w+", named):
            raise ConfigurationError(
                f"there is no channel layer {alias!r}: CHANNEL_LAYERS has "
                f"{', '.join(map(repr, known)) or 'none'}; name one of these with --layer, or "
                f"give a URL, such as memory:"
            )
        return named, "default"

    def team(
        self,
        alias: str,
        layer: IChannelLayer,
        reactor: Any,
        *,
        spec: Any,
        threads: int,
        stop_timeout: float,
        only: Sequence[str] = (),
        exclude: Sequence[str] = (),
        narrate: bool = False,
        static_files: bool | None = None,
    ) -> ThreadTeam:
        """
        Make the threads that run the site's consumers.

        @param alias: whose routing they follow.
        @param spec: what C{layer} was made from.
        @param only: globs of the channels to read; none for all.
        @param exclude: globs of those not to read.
        @param narrate: whether to log each run of a consumer.
        @param static_files: whether to serve static files; see L{DjangoApplication}.
        @raise ConfigurationError: the site cannot be run.
        """
        from chanserv.django.application import DjangoApplication

        with _Errors(f"the site of {self.settings!r} cannot be run"):
            self._layers.attach(alias, face_of(layer, reactor), spec)
            application = narrowed(DjangoApplication(alias, static_files), only, exclude)
            if narrate:
                application = Narrated(application)
        return ThreadTeam(
            layer,
            application,
            reactor,
            threads,
            alone=within_process(layer),
            stop_timeout=stop_timeout,
        )


def load_site(settings: str) -> Site:
    """
    Load a Django site, on the main thread.

    @param settings: the dotted path of its settings.
    @raise ConfigurationError: it cannot be loaded, or there is no Django.
    """
    application = _django_side()
    with _Errors(f"the settings {settings!r} cannot be loaded"):
        application.load_site(settings)
        return Site(settings)


def read_settings(settings: str) -> Site:
    """
    Read a Django site's settings, and load nothing else of it.

    @param settings: their dotted path.
    @raise ConfigurationError: they cannot be read, or there is no Django.
    """
    application = _django_side()
    with _Errors(f"the settings {settings!r} cannot be loaded"):
        application.read_settings(settings)
        return Site(settings)


class _Errors:
    """Turns whatever a site raises while it is loaded into one line."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, (ConfigurationError, KeyboardInterrupt)):
            return
        # That of a SyntaxError has a file's name, which many files have.
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        text = " ".join(said.split())
        raise ConfigurationError(
            f"{self._what}: {type(error).__name__}: {text}{_place(error)}"
        ) from error


def _place(error: BaseException) -> str:
    """Where in the site's own code an error comes from, for the end of a line."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(("<", *_NOT_THE_SITE)):
            return f" ({frame.filename}, line {frame.lineno})"
    return ""
