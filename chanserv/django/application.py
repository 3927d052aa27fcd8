"""A Django site as an application that chanserv's workers run."""

from __future__ import annotations

import os
import threading
from contextvars import Context, copy_context
from importlib import import_module
from inspect import iscoroutine
from typing import Any, Final

import django
from django.apps import apps
from django.conf import ENVIRONMENT_VARIABLE, settings
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections, connections
from django.urls import get_resolver, set_script_prefix
from django.utils import timezone, translation
from zope.interface import implementer

from chanserv.django import guard
from chanserv.django.exceptions import ImproperChannelLayers
from chanserv.django.gathering import begin, end
from chanserv.django.handler import ViewConsumer
from chanserv.django.layers import channel_layers
from chanserv.django.message import Message
from chanserv.django.request import script_name_of
from chanserv.django.routing import Route, Router, null_consumer
from chanserv.django.signals import consumer_finished, consumer_started, worker_ready
from chanserv.interfaces import IApplication
from chanserv.worker.outbox import Outbox


def load_site(settings_module: str | None = None) -> None:
    """
    Load the settings and apps of a site, as C{manage.py} would.

    Call it once, on the main thread, before anything of the site is imported.

    @param settings_module: its dotted path; L{None} to take it from
        C{DJANGO_SETTINGS_MODULE}.
    @raise ImproperChannelLayers: there is no such module, or it is wrong: one
        line.  Errors within the site's own code are raised as they are.
    """
    if settings_module is not None:
        os.environ[ENVIRONMENT_VARIABLE] = settings_module
    name = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if not name and not settings.configured:
        raise ImproperChannelLayers(
            f"no settings are named: give --settings=mysite.settings, or set {ENVIRONMENT_VARIABLE}"
        )
    if name and not settings.configured:
        _try_import(name)
    try:
        django.setup()
        # Django would notice that it is missing with the first request.
        _ = settings.SECRET_KEY
    except ImproperlyConfigured as error:
        raise ImproperChannelLayers(
            f"the settings {name!r} are wrong: {' '.join(str(error).split())}"
        ) from error


def read_settings(settings_module: str) -> None:
    """
    Make C{django.conf.settings} those of a site, whose apps stay unloaded.

    @param settings_module: their dotted path.
    @raise ImproperChannelLayers: there is no such module: one line.
    """
    os.environ[ENVIRONMENT_VARIABLE] = settings_module
    if not settings.configured:
        _try_import(settings_module)


def _try_import(name: str) -> None:
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise
        raise ImproperChannelLayers(
            f"there are no settings {name!r}: Python finds no module {missing!r}; correct the "
            f"name, or start in the directory of manage.py"
        ) from error


@implementer(IApplication)
class DjangoApplication:
    """
    The consumers of a Django site, behind one channel layer of its settings.

    Everything that can be wrong with the site's routing, consumers and
    middleware is found while it is made.

    @ivar layer: the wrapper of the channel layer.
    """

    def __init__(self, alias: str = "default", static_files: bool | None = None) -> None:
        """
        Load the site.  On the main thread.

        @param alias: the entry of C{CHANNEL_LAYERS} whose routing to run.
        @param static_files: whether to serve static files; L{None} to do as
            C{runserver} does: with C{DEBUG}, where C{staticfiles} is installed.
        @raise ImproperChannelLayers: the settings are wrong.
        """
        if not apps.ready:
            load_site()
        guard.install()
        self.layer = channel_layers[alias]
        views = _view_consumer(static_files)
        views.handler.load()
        _load_urls()
        self._router = Router.for_layer(self.layer.settings, views)
        only = self._router.only_route("http.request")
        self._views = only if only is not None and only.consumer is views else None
        _close_idle_connections()
        worker_ready.send(sender=self.__class__, layer=self.layer)

    def channel_names(self) -> frozenset[str]:
        """The names of all channels that have a consumer.  Any thread."""
        return self._router.channels

    def ignored_channels(self) -> frozenset[str]:
        """Those for which the site has no consumer of its own, and needs none."""
        return frozenset(
            channel
            for channel in self._router.channels
            if (only := self._router.only_route(channel)) and only.consumer is null_consumer
        )

    def run(self, channel: str, message: dict[str, Any], outbox: Outbox) -> None:
        """
        Run the consumer of one message; see L{IApplication.run}.

        @raise NoConsumer: there is none for it.
        """
        wrapped = Message(message, channel, self.layer)
        route, kwargs = self._route_of(channel, wrapped)
        outbox.consumer = route.name
        if route.consumer is null_consumer:
            # As after each request, when it has ended: no need to frame nothing.
            return
        # Around a view, Django's own signals see to the connections.
        view = route is self._views
        if not view:
            close_old_connections()
            _forget_the_last_run()
            prefix = script_name_of(message)
            if prefix:
                set_script_prefix(prefix)
        gathering = begin(self.layer, outbox, message)
        try:
            consumer_started.send(sender=self.__class__, environ={})
            result = route.consumer(wrapped, **kwargs)
            if result is not None and iscoroutine(result):
                result.close()
                raise TypeError(
                    f"{route.name} gave a coroutine, which nobody awaits: something around an "
                    f"'async def' consumer hides what it is; wrap that in async_to_sync()"
                )
        finally:
            try:
                consumer_finished.send(sender=self.__class__, environ={})
                if not view:
                    close_old_connections()
            finally:
                try:
                    end(gathering)
                finally:
                    if not view:
                        _forget_the_last_run()

    def _route_of(self, channel: str, message: Message) -> tuple[Route, dict[str, str]]:
        if channel == "http.request" and self._views is not None:
            return self._views, {}
        found = self._router.find(channel, message)
        if found is None:
            raise self._router.no_consumer(channel)
        return found


class _PerThread(threading.local):
    """
    @ivar bare: the context variables of this thread with nothing in them that
        a run has left behind; L{None} before the first.
    """

    bare: Context | None = None


_thread: Final = _PerThread()


def _forget_the_last_run() -> None:
    """
    Leave the language, the time zone and the script prefix that a view or
    consumer has set in this thread: Django keeps them until another request
    sets its own, and a consumer has no C{LocaleMiddleware} that would.

    Each takes Django some two microseconds, even where there is none.  They are
    all context variables, and to see that none of these has changed takes a tenth.
    """
    if copy_context() != _thread.bare:
        translation.deactivate()
        timezone.deactivate()
        set_script_prefix("/")
        _thread.bare = copy_context()


def _view_consumer(static_files: bool | None) -> ViewConsumer:
    """The default consumer of C{http.request}, with or without static files."""
    if static_files is None:
        static_files = settings.DEBUG
    if static_files and apps.is_installed("django.contrib.staticfiles"):
        from chanserv.django.staticfiles import StaticFilesConsumer, staticfiles_installed

        if staticfiles_installed():
            return StaticFilesConsumer()
    return ViewConsumer()


def _load_urls() -> None:
    """
    Import the site's URLs, so that what is wrong with them shows now, and the
    first request need not wait for it.
    """
    if getattr(settings, "ROOT_URLCONF", None):
        _ = get_resolver().url_patterns


def _close_idle_connections() -> None:
    """
    Close the connections that this thread opened while the site was loaded:
    it is about to run the reactor, which must not wait for a database.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
