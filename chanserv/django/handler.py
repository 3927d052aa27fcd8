"""
Django's request and response cycle for messages on C{http.request}.

L{AsgiHandler} is to messages what Django's C{WSGIHandler} is to an environ;
L{ViewConsumer} is the consumer around it, the default for C{http.request}.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, ClassVar

from django.core import signals
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix
from twisted.logger import Logger

from chanserv.django.exceptions import ResponseLater
from chanserv.django.gathering import current_outbox
from chanserv.django.message import Message
from chanserv.django.request import AsgiRequest
from chanserv.django.response import LaterResponse, messages_of, sealed, whole_message
from chanserv.django.streaming import ReplyStream
from chanserv.errors import ClientDisconnected
from chanserv.messages import SealedMessage, Send
from chanserv.names import check_channel

__all__ = ["AsgiHandler", "AsgiRequest", "ViewConsumer"]


def _note_failure(request: HttpRequest | None = None, **_: Any) -> None:
    """Hear of an exception that Django answers with its page for errors."""
    if isinstance(request, AsgiRequest):
        request.failed = True


signals.got_request_exception.connect(
    _note_failure, dispatch_uid="chanserv.django.handler", weak=False
)


class AsgiHandler(BaseHandler):
    """
    Makes a Django response of a message on C{http.request}.

    May be used from many threads at once.
    """

    request_class: ClassVar[type[AsgiRequest]] = AsgiRequest
    _middleware_chain: Any
    _loading: ClassVar[threading.Lock] = threading.Lock()

    def load(self) -> None:
        """
        Load the middleware, once; done with the first request at the latest.

        @raise ImproperlyConfigured: some of it is wrong.
        """
        with self._loading:
            if self._middleware_chain is None:
                self.load_middleware()

    def respond(self, message: Message) -> HttpResponseBase:
        """
        Run the middleware and the view.

        The caller closes the response, which sends C{request_finished}.
        """
        if self._middleware_chain is None:
            self.load()
        request = self.request_class(message)
        set_script_prefix(request.META["SCRIPT_NAME"])
        signals.request_started.send(sender=self.__class__, environ=request.META, message=message)
        response = self.get_response(request)
        if request.failed:
            # The client has its page, and whoever counts failures shall hear of it too.
            outbox = current_outbox(message.channel_layer)
            if outbox is not None:
                outbox.failed = True
        response._handler_class = self.__class__  # type: ignore[attr-defined]
        return response

    def __call__(self, message: Message) -> Iterator[dict[str, Any]]:
        """
        Answer a request.

        @return: yields the messages for the reply channel, and closes the
            response after the last.
        """
        response = self.respond(message)
        try:
            if not isinstance(response, LaterResponse):
                yield from messages_of(response)
        finally:
            response.close()

    @classmethod
    def encode_response(cls, response: HttpResponseBase) -> Iterator[dict[str, Any]]:
        """
        The messages that a response makes, for consumers that answer
        C{http.request} without a view.

        @return: yields each, and closes the response after the last.
        """
        try:
            yield from messages_of(response)
        finally:
            response.close()

    def process_exception_by_middleware(
        self, exception: Exception, request: HttpRequest
    ) -> HttpResponse:
        """Let a view that answers later go without a response."""
        if isinstance(exception, ResponseLater):
            return LaterResponse()
        return super().process_exception_by_middleware(exception, request)


class ViewConsumer:
    """
    The consumer that gives requests to Django's views.

    It answers with one message in the run's outbox where the response fits
    one, and otherwise streams it while the run lasts.
    """

    _log = Logger()

    def __init__(self, handler: AsgiHandler | None = None) -> None:
        """
        @param handler: what makes the responses.
        """
        self.handler = handler or AsgiHandler()

    def __call__(self, message: Message, **kwargs: Any) -> None:
        """Answer the request in C{message}."""
        response = self.handler.respond(message)
        try:
            if isinstance(response, LaterResponse):
                return
            method: str = message.content["method"]
            whole = whole_message(response, method.upper())
            if whole is not None:
                self._send_last(message, sealed(whole))
            else:
                self._stream(message, response)
        finally:
            response.close()

    def _stream(self, message: Message, response: HttpResponseBase) -> None:
        layer = message.channel_layer.channel_layer
        stream = ReplyStream(layer, message.content["reply_channel"])
        # Where the response breaks after its start, the exception goes on to the
        # worker, whose answer of 500 ends the connection: its client can tell
        # that the body is not whole.
        try:
            for part in messages_of(response):
                if part["more_content"]:
                    stream.send(sealed(part))
                else:
                    self._send_last(message, sealed(part))
        except ClientDisconnected as gone:
            self._log.info(
                "response for {path} stopped: {reason}",
                path=message.content["path"],
                reason=str(gone),
            )

    def _send_last(self, message: Message, reply: SealedMessage) -> None:
        name = check_channel(message.content["reply_channel"])
        outbox = current_outbox(message.channel_layer)
        if outbox is None:
            message.channel_layer.send(name, reply)
        else:
            outbox.operations.append(Send(name, reply))
