"""Static files while developing, as Django's own C{runserver} serves them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlparse

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandlerMixin
from django.contrib.staticfiles.views import serve
from django.core import signals
from django.core.handlers.exception import convert_exception_to_response

from chanserv.django.handler import AsgiHandler, ViewConsumer
from chanserv.django.message import Message
from chanserv.django.request import AsgiRequest, path_info_of, script_name_of


class StaticFilesHandler(StaticFilesHandlerMixin, AsgiHandler):  # type: ignore[misc]
    """
    Serves what is below C{STATIC_URL}, through the finders of
    C{django.contrib.staticfiles}; no middleware runs for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.base_url = urlparse(self.get_base_url())
        self._respond = convert_exception_to_response(self.serve)

    def takes(self, message: Message) -> bool:
        """Whether the request in C{message} is for a static file."""
        return self._static_path(message) is not None

    def _static_path(self, message: Message) -> str | None:
        """The path that is below C{STATIC_URL}: the whole one, or that within the site."""
        path: str = message.content["path"]
        for candidate in (path, path_info_of(path, script_name_of(message.content))):
            if self._should_handle(candidate):
                return candidate
        return None

    def serve(self, request: Any) -> Any:
        """The response with a file; raises C{Http404} where there is none."""
        path = self._static_path(request.message) or request.path
        return serve(request, self.file_path(path), insecure=True)

    def respond(self, message: Message) -> Any:
        """Find the file; 404 where there is none, 400 for a path that leads out."""
        request = AsgiRequest(message)
        signals.request_started.send(sender=self.__class__, environ=request.META, message=message)
        response: Any = self._respond(request)
        response._resource_closers.append(request.close)
        response._handler_class = self.__class__
        return response


class StaticFilesConsumer(ViewConsumer):
    """Serves static files, and gives all other requests to the views."""

    def __init__(self) -> None:
        super().__init__()
        static = StaticFilesHandler()
        self._static = static
        self._static_consumer = ViewConsumer(static)

    def __call__(self, message: Message, **kwargs: Any) -> None:
        """Answer the request in C{message}."""
        if self._static.takes(message):
            self._static_consumer(message)
        else:
            super().__call__(message)


def staticfiles_installed() -> bool:
    """Whether the site has Django's app for static files, and a place for them."""
    return apps.is_installed("django.contrib.staticfiles") and bool(settings.STATIC_URL)
