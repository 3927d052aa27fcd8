"""Tests of consumers: messages go in as a server sends them, replies come out."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

from django.test import Client, TestCase

from chanserv.django import DjangoApplication, channel_layers
from chanserv.layers import MemoryChannelLayer
from chanserv.layers.blocking import face_of
from chanserv.worker.outbox import Outbox

MAILBOX = "tests!"


class ConsumerTestCase(TestCase):
    """
    Runs the site's consumers over a layer of its own, in this thread.

    @ivar application: what a worker would run.
    """

    application: DjangoApplication

    @classmethod
    def setUpClass(cls) -> None:
        """Load the site: before Django begins its transactions, since that closes them."""
        cls.application = DjangoApplication()
        super().setUpClass()

    def setUp(self) -> None:
        """Begin with an empty layer."""
        super().setUp()
        self.face = face_of(MemoryChannelLayer(), None)
        channel_layers.attach("default", self.face)
        self._waiting: dict[str, list[dict[str, Any]]] = {}

    def run_message(self, channel: str, **message: Any) -> None:
        """Do what a worker does with one message."""
        outbox = Outbox()
        try:
            # As Django's test client does: a test's transaction outlives the run.
            with mock.patch("chanserv.django.application.close_old_connections"):
                self.application.run(channel, message, outbox)
        finally:
            self.face.send_batch(outbox.operations)

    def replies(self, reply_channel: str) -> list[dict[str, Any]]:
        """What was sent there since the last look."""
        while True:
            name, message = self.face.receive([MAILBOX])
            if name is None:
                return self._waiting.pop(reply_channel, [])
            self._waiting.setdefault(name, []).append(message)

    def socket(self, path: str, client: Client | None = None, query: str = "") -> Socket:
        """Open a socket with the cookies of C{client}."""
        socket = Socket(self, path)
        socket.connect(client or self.client, query)
        return socket


class Socket:
    """
    One socket, as the interface server would hold it.

    @ivar channel: the name of its reply channel.
    """

    _count = 0

    def __init__(self, case: ConsumerTestCase, path: str) -> None:
        Socket._count += 1
        self.channel = f"{MAILBOX}{Socket._count}"
        self._case = case
        self._path = path

    def connect(self, client: Client, query: str, origin: str = "http://localhost") -> None:
        """Send the handshake."""
        cookies = "; ".join(f"{name}={cookie.value}" for name, cookie in client.cookies.items())
        self._send(
            "connect",
            headers=[[b"cookie", cookies.encode()], [b"origin", origin.encode()]],
            query_string=query.encode(),
        )

    def say(self, what: object) -> None:
        """Send a JSON text."""
        self._send("receive", text=json.dumps(what))

    def close(self) -> None:
        """Close it, as its client would."""
        self._send("disconnect", code=1001)

    def heard(self) -> list[dict[str, Any]]:
        """What the server has sent since the last look, parsed."""
        messages = self._case.replies(self.channel)
        return [json.loads(message["text"]) for message in messages if "text" in message]

    def _send(self, event: str, **message: Any) -> None:
        self._case.run_message(
            f"websocket.{event}",
            reply_channel=self.channel,
            path=self._path,
            order=0,
            **message,
        )
