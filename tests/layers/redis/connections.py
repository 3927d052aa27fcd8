"""What tests of connections share: a reactor, logs, servers that only pretend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from chanserv.layers.redis.addresses import servers_from_url
from chanserv.layers.redis.connection import Connection, Limits
from chanserv.layers.redis.server import Server
from chanserv.layers.redis.subscription import Subscription

# Tests of trial run on the global reactor, which stands when this is imported.
reactor: Any = import_module("twisted.internet.reactor")

WAIT_SECONDS = 120.0
"""How long a test waits for what it expects: far more than that needs."""

SLOW_MACHINE = {"connect_timeout": WAIT_SECONDS, "reply_timeout": WAIT_SECONDS}
"""Time-outs of a server that must not be what fails a test."""

QUICK = Limits(longest_back_off=0.2, refused_back_off=0.2, patience=WAIT_SECONDS)
"""Attempts without long pauses, and no end of patience on a slow machine."""


async def until(condition: Callable[[], object], what: str) -> None:
    """Let the reactor run until C{condition} holds."""
    deadline = reactor.seconds() + WAIT_SECONDS
    while not condition():
        assert reactor.seconds() < deadline, f"this did not come true: {what}"
        await deferLater(reactor, 0.01)


def server_of(url: str) -> Server:
    """The server that C{url} names.  It has all the time that C{url} does not deny it."""
    (server,), _ = servers_from_url(url)
    patient = {name: value for name, value in SLOW_MACHINE.items() if f"{name}=" not in url}
    return replace(server, **patient)


class ConnectionCase(TestCase):
    """
    A test of real connections.

    @cvar by_hiredis: whether hiredis reads the replies.
    """

    timeout = 240
    by_hiredis: bool | None = None

    def setUp(self) -> None:
        self.said: list[str] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def _observe(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("chanserv"):
            self.said.append(formatEvent(event))

    def connection(self, url: str, *, limits: Limits = QUICK, **keywords: Any) -> Connection:
        """A connection that has been started, and is stopped when the test ends."""
        connection = Connection(
            server_of(url), reactor, limits=limits, by_hiredis=self.by_hiredis, **keywords
        )
        return self.begun(connection)

    def subscription(self, url: str, **keywords: Any) -> Subscription:
        """The same for one that listens."""
        subscription = Subscription(
            server_of(url), reactor, limits=QUICK, by_hiredis=self.by_hiredis, **keywords
        )
        self.begun(subscription)
        return subscription

    def begun(self, connection: Connection) -> Connection:
        connection.start()
        self.addCleanup(connection.stop)
        return connection

    async def up(self, connection: Connection) -> None:
        """Wait until it is up."""
        await until(lambda: connection.up, "the connection is up")

    async def down(self, connection: Connection) -> str:
        """Wait until it knows that it is down, and return the reason."""
        while True:
            try:
                await connection.call("PING")
            except Exception as error:
                return str(error)
            await deferLater(reactor, 0.01)

    async def failure_of(self, deferred: Deferred[Any]) -> Exception:
        """What it fails with."""
        try:
            found = await deferred
        except Exception as error:
            return error
        raise AssertionError(f"it fired with {found!r}")


class Pretender(Protocol):
    """A server that answers commands in their order from a list, and then no more."""

    def __init__(self, answers: list[bytes], said: list[bytes]) -> None:
        self._answers = answers
        self._said = said

    def dataReceived(self, data: bytes) -> None:
        self._said.append(data)
        for _ in range(data.count(b"*")):
            if not self._answers:
                return
            answer = self._answers.pop(0)
            if answer:
                assert self.transport is not None
                self.transport.write(answer)


def pretender(
    case: TestCase, answers: Callable[[], list[bytes]], said: list[bytes] | None = None
) -> str:
    """
    Listen like a server.

    @param answers: makes the answers of a new connection.
    @param said: gets what the connections say.
    @return: the URL of a layer on it.
    """

    class Answering(Factory):
        noisy = False

        def buildProtocol(self, addr: object) -> Protocol:
            return Pretender(answers(), [] if said is None else said)

    port = reactor.listenTCP(0, Answering(), interface="127.0.0.1")
    case.addCleanup(port.stopListening)
    return f"redis://127.0.0.1:{port.getHost().port}/0"
