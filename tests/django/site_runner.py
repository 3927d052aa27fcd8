"""
The site of C{tests/site} run as a worker would run it: each message in a real
thread, over a real memory layer, the outbox flushed at the end.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections

from chanserv.django import DjangoApplication, channel_layers
from chanserv.layers.blocking import face_of
from chanserv.layers.memory import MemoryChannelLayer
from chanserv.worker.outbox import Outbox

MAILBOX = "chanserv.response.tests!"


@dataclass
class Answer:
    """
    What came back for a request.

    @ivar messages: the replies, as they came.
    @ivar failure: what C{run} raised.
    @ivar failed: whether the run counts as failed although it raised nothing.
    """

    consumer: str
    messages: list[dict[str, Any]]
    failure: BaseException | None = None
    failed: bool = False
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(name, value) for name, value in self.messages[0]["headers"]]

    def header(self, name: bytes) -> bytes | None:
        """The value of a header, or None."""
        return dict(self.headers).get(name)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("content", b"") for message in self.messages)

    @property
    def text(self) -> str:
        return self.body.decode()


class SiteRunner:
    """One application over one memory layer, and its interface server's place."""

    def __init__(self, **options: Any) -> None:
        channel_layers.forget()
        self.layer = MemoryChannelLayer(**options)
        self.face = face_of(self.layer, None)
        channel_layers.attach("default", self.face)
        self.application = DjangoApplication()
        self._numbers = itertools.count()
        self.cookies: dict[str, str] = {}

    def __enter__(self) -> SiteRunner:
        return self

    def __exit__(self, *exc: object) -> None:
        channel_layers.forget()

    def reply_channel(self) -> str:
        """A new connection's."""
        return f"{MAILBOX}{next(self._numbers):x}"

    def start(self, channel: str, message: dict[str, Any]) -> tuple[threading.Thread, Answer]:
        """Begin to run a message in a thread; the answer fills as it ends."""
        answer = Answer("", [])

        def run() -> None:
            outbox = Outbox()
            try:
                self.application.run(channel, dict(message), outbox)
            except BaseException as error:
                answer.failure = error
            finally:
                answer.consumer = outbox.consumer
                answer.failed = outbox.failed
                assert self.face.send_batch(outbox.operations) == [None] * len(outbox.operations)
                connections.close_all()

        thread = threading.Thread(target=run, name=f"run of {channel}")
        thread.start()
        return thread, answer

    def run(self, channel: str, message: dict[str, Any], raises: bool = False) -> Answer:
        """Run a message to its end, and gather what it sent to its reply channel."""
        thread, answer = self.start(channel, message)
        reply_channel = message.get("reply_channel")
        while thread.is_alive():
            answer.messages += self.taken(reply_channel)
            thread.join(0.01)
        answer.messages += self.taken(reply_channel)
        if answer.failure is not None and not raises:
            raise answer.failure
        return answer

    def taken(self, channel: str | None) -> list[dict[str, Any]]:
        """What waits on C{channel}."""
        messages: list[dict[str, Any]] = []
        while channel is not None:
            mailbox = channel[: channel.find("!") + 1] or channel
            found, message = self.face.receive([mailbox])
            if message is None:
                break
            assert found == channel
            messages.append(message)
        return messages

    def request_message(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        **more: Any,
    ) -> dict[str, Any]:
        """An C{http.request} message, as an interface server makes it."""
        path, _, query = path.partition("?")
        pairs = [[b"host", b"testserver"], *map(list, headers)]
        if self.cookies:
            cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            pairs.append([b"cookie", cookie.encode()])
        if body and not any(name == b"content-length" for name, _ in pairs):
            pairs.append([b"content-length", str(len(body)).encode()])
        return {
            "reply_channel": self.reply_channel(),
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "query_string": query.encode(),
            "root_path": "",
            "headers": pairs,
            "body": body,
            "client": ["192.0.2.7", 40000],
            "server": ["127.0.0.1", 8000],
            **more,
        }

    def request(self, method: str, path: str, *args: Any, **more: Any) -> Answer:
        """Make a request; cookies are kept."""
        raises = more.pop("raises", False)
        answer = self.run("http.request", self.request_message(method, path, *args, **more), raises)
        if answer.messages:
            for name, value in answer.headers:
                if name == b"set-cookie":
                    key, _, rest = value.decode().partition("=")
                    answer.cookies[key] = rest.partition(";")[0].strip('"')
            self.cookies.update(answer.cookies)
        return answer

    def get(self, path: str, *args: Any, **more: Any) -> Answer:
        """Make a GET request."""
        return self.request("GET", path, *args, **more)

    def post(
        self, path: str, body: bytes, content_type: bytes = b"text/plain", **more: Any
    ) -> Answer:
        """Make a POST request."""
        headers = [*more.pop("headers", ()), (b"content-type", content_type)]
        return self.request("POST", path, headers, body, **more)


class Socket:
    """A WebSocket as its interface server sees it."""

    def __init__(self, site: SiteRunner, path: str) -> None:
        self.site = site
        self.path = path
        self.name = site.reply_channel()
        self.order = itertools.count()

    def connect(self) -> list[dict[str, Any]]:
        """Send the connect event; the replies."""
        message = self.site.request_message("GET", self.path)
        for key in ("method", "body", "http_version"):
            del message[key]
        return self._event("websocket.connect", **{**message, "scheme": "ws", "subprotocols": []})

    def send(self, content: str | bytes) -> list[dict[str, Any]]:
        """Send a message event; the replies."""
        key = "text" if isinstance(content, str) else "bytes"
        return self._event("websocket.receive", path=self.path, **{key: content})

    def disconnect(self, code: int = 1000) -> list[dict[str, Any]]:
        """Send the disconnect event; the replies."""
        return self._event("websocket.disconnect", path=self.path, code=code)

    def _event(self, channel: str, **message: Any) -> list[dict[str, Any]]:
        message |= {"reply_channel": self.name, "order": next(self.order)}
        return self.site.run(channel, message).messages

    def waiting(self) -> list[dict[str, Any]]:
        """What has been sent to this connection and not been taken yet."""
        return self.site.taken(self.name)
