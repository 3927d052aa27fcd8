"""Servers behind real sentinels."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from chanserv.errors import ConfigurationError, LayerUnavailable
from chanserv.layers.redis.connection import Connection, Limits
from chanserv.layers.redis.sentinel import SentinelEndpoint
from tests.layers.redis.connections import (
    WAIT_SECONDS,
    ConnectionCase,
    pretender,
    reactor,
    server_of,
    until,
)
from tests.processes import free_port
from tests.redis_servers import RedisServer, SentinelSetup, redis_server, redis_with_sentinels

AS_IN_LIFE = Limits(patience=WAIT_SECONDS)
"""Bounds as they are; but a slow machine is given time."""


def named(port: int) -> bytes:
    """What a sentinel answers that names a master at C{port}."""
    digits = str(port).encode()
    return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%b\r\n" % (len(digits), digits)


class TestFailOver(ConnectionCase):
    setup: SentinelSetup

    def setUp(self) -> None:
        super().setUp()
        # Behind two addresses where nobody listens, the third knows.
        self.setup = self.enterContext(redis_with_sentinels(password="hush"))
        hosts = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()},"
        self.url = self.setup.url.replace("127.0.0.1:", hosts + "127.0.0.1:", 1)

    # On a slow machine Sentinel may change its mind by itself, so these ask who is master.

    async def test_the_new_master_is_found_when_the_old_one_died(self) -> None:
        ports: list[int] = []

        async def prepare(link: Any) -> None:
            ports.append(int((await link.call("CONFIG", "GET", "port"))[1]))

        connection = self.connection(
            self.url,
            limits=AS_IN_LIFE,
            prepare=lambda link: Deferred.fromCoroutine(prepare(link)),
        )
        assert await connection.call("SET", "k", "v") == b"OK"
        assert connection.server.name == f"sentinel:{self.setup.service}/0"
        both = (self.setup.master, self.setup.replica)
        await until(lambda: all(map(self.has_it, both)), "both have it")
        died = next(server for server in both if server.port == ports[-1])
        other = next(server for server in both if server is not died)
        died.kill()
        await until(lambda: not connection.up, "the loss is noticed")
        await self.up(connection)
        assert await connection.call("GET", "k") == b"v"
        assert await connection.call("SET", "k", "w") == b"OK"
        assert ports[-1] == other.port
        assert "hush" not in "".join(self.said)

    @staticmethod
    def has_it(server: RedisServer) -> bool:
        return server.command("GET", "k") == b"$1\r\nv\r\n"

    async def test_it_is_found_when_the_old_one_was_only_told_to_step_down(self) -> None:
        connection = self.connection(self.url, limits=AS_IN_LIFE)
        first = await self.master_written_to(connection)

        def told() -> bool:
            sentinel = self.setup.sentinels[0]
            answer = sentinel.command("SENTINEL", "FAILOVER", self.setup.service)
            return answer == b"+OK\r\n" or self.setup.named_by(sentinel) != first

        await until(told, "Sentinel does as it is told")
        for _ in range(int(WAIT_SECONDS / 0.05)):
            if await self.master_written_to(connection) not in (first, None):
                return
            await deferLater(reactor, 0.05)
        self.fail("writes never reached the new master")

    async def master_written_to(self, connection: Connection) -> int | None:
        """The port of the server that takes a write, where there is one."""
        try:
            await connection.call("SET", "k", "v")
            return int((await connection.call("CONFIG", "GET", "port"))[1])
        except LayerUnavailable:
            return None


class TestSwitches(ConnectionCase):
    """A sentinel that only pretends, and two masters."""

    def setUp(self) -> None:
        super().setUp()
        self.old = self.enterContext(redis_server(tcp=True))
        self.new = self.enterContext(redis_server(tcp=True))
        self.listeners: list[Any] = []
        self.master = self.old.port
        self.is_silent = False
        self.turned_away = 0
        case = self

        class Sentinel(Protocol):
            def connectionMade(self) -> None:
                if case.is_silent:
                    case.turned_away += 1
                    assert self.transport is not None
                    self.transport.loseConnection()

            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                if b"SUBSCRIBE" in data:
                    case.listeners.append(self.transport)
                    self.transport.write(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n")
                else:
                    self.transport.write(named(case.master))

        factory = Factory.forProtocol(Sentinel)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"redis+sentinel://127.0.0.1:{port.getHost().port}/main"

    def switch(self, service: str, port: int) -> None:
        """Tell the listeners of a new master."""
        payload = f"{service} 127.0.0.1 1 127.0.0.1 {port}".encode()
        for transport in self.listeners:
            transport.write(
                b"*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n"
                b"$%d\r\n%b\r\n" % (len(payload), payload)
            )

    async def test_a_master_that_still_serves_is_left_for_the_new_one(self) -> None:
        lost: list[None] = []
        connection = self.connection(self.url, lost=lambda: lost.append(None))
        await connection.call("SET", "k", "old")
        await until(lambda: self.listeners, "it listens")
        self.master = self.new.port
        self.switch("main", self.new.port)
        await until(lambda: lost, "the old one is left")
        await self.up(connection)
        await connection.call("SET", "k", "new")
        assert self.new.command("GET", "k") == b"$3\r\nnew\r\n"
        assert self.old.command("GET", "k") == b"$3\r\nold\r\n"
        assert f"its master is 127.0.0.1:{self.new.port} now" in self.said[0]

    async def test_a_switch_is_learnt_of_that_was_said_before_anybody_listened(self) -> None:
        lost: list[None] = []
        connection = self.connection(self.url, lost=lambda: lost.append(None))
        await self.up(connection)
        await until(lambda: len(self.listeners) == 1, "it listens")
        self.master = self.new.port
        self.listeners[0].loseConnection()
        await until(lambda: lost, "the old one is left")
        await self.up(connection)
        await connection.call("SET", "k", "v")
        assert self.new.command("GET", "k") == b"$1\r\nv\r\n"

    async def test_news_of_other_services_and_of_the_same_master_is_no_matter(self) -> None:
        lost: list[None] = []
        connection = self.connection(self.url, lost=lambda: lost.append(None))
        await self.up(connection)
        await until(lambda: self.listeners, "it listens")
        self.switch("other", self.new.port)
        self.switch("main", self.old.port)
        for transport in self.listeners:
            transport.write(b"*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$5\r\nwrong\r\n")
        # A real change behind these is what ends it.
        self.master = self.new.port
        assert lost == []
        self.switch("main", self.new.port)
        await until(lambda: lost, "the old one is left")
        await self.up(connection)
        assert len(lost) == 1

    async def test_a_sentinel_that_is_gone_is_listened_to_again(self) -> None:
        connection = self.connection(self.url)
        await self.up(connection)
        await until(lambda: len(self.listeners) == 1, "it listens")
        self.listeners[0].loseConnection()
        await until(lambda: len(self.listeners) == 2, "it listens again")
        assert connection.up

    async def test_that_no_sentinel_is_heard_any_more_is_said_once(self) -> None:
        connection = self.connection(self.url)
        beside = self.subscription(self.url, channels=["c"], heard=lambda _, __: None)
        await self.up(connection)
        await until(lambda: beside.up and len(self.listeners) == 2, "both listen")
        self.is_silent = True
        for transport in self.listeners:
            transport.loseConnection()
        await until(lambda: self.said and self.turned_away >= 8, "both have tried some times")
        (line,) = self.said
        assert line.startswith("Redis sentinel:main/0: no sentinel is heard any more (")
        assert connection.up
        self.is_silent = False
        await until(lambda: len(self.listeners) == 4, "both listen again")
        await until(lambda: len(self.said) == 2, "that is said")
        assert self.said[1] == "Redis sentinel:main/0: a sentinel is heard again"

    async def test_it_can_be_stopped_at_any_moment(self) -> None:
        # Whatever was left would make trial fail this test.
        nobody = f"redis+sentinel://127.0.0.1:{free_port()},"
        for url in (self.url, self.url.replace("redis+sentinel://", nobody)):
            for turns in range(16):
                connection = Connection(server_of(url), reactor, limits=AS_IN_LIFE)
                connection.start()
                held = connection.call("PING")
                held.addErrback(lambda failure: failure.trap(LayerUnavailable))
                for _ in range(turns):
                    await deferLater(reactor, 0)
                await connection.stop()
                await held


class TestDiscovery(ConnectionCase):
    def setUp(self) -> None:
        super().setUp()
        self.server: RedisServer = self.enterContext(redis_server(tcp=True))

    def sentinel(self, *answers: bytes) -> str:
        """The address of one that answers so."""
        url = pretender(self, lambda: list(answers))
        return url.removeprefix("redis://").removesuffix("/0")

    def url(self, *sentinels: str) -> str:
        return f"redis+sentinel://{','.join(sentinels)}/main"

    async def test_sentinels_are_asked_in_turn_until_one_knows(self) -> None:
        url = self.url(
            f"127.0.0.1:{free_port()}",
            self.sentinel(b"*-1\r\n"),
            self.sentinel(b"-ERR no\r\n"),
            self.sentinel(named(self.server.port)),
        )
        assert await self.connection(url).call("PING") == b"PONG"

    async def test_one_that_knew_is_asked_first_the_next_time(self) -> None:
        knowing = self.sentinel(named(self.server.port))
        asked: list[bytes] = []
        silent = pretender(self, list, asked).removeprefix("redis://").removesuffix("/0")
        server = server_of(self.url(silent, knowing))
        endpoint = SentinelEndpoint(server, reactor, answer_timeout=0.2)
        for _ in range(3):
            link: Any = await endpoint.connect(Factory.forProtocol(Protocol))
            link.transport.abortConnection()
        assert len(asked) == 1
        assert endpoint.master == ("127.0.0.1", self.server.port)

    async def test_one_that_says_nothing_has_only_its_time(self) -> None:
        server = server_of(self.url(self.sentinel(), self.sentinel(named(self.server.port))))
        endpoint = SentinelEndpoint(server, reactor, answer_timeout=0.2)
        connection = Connection(server, reactor, limits=AS_IN_LIFE)
        connection._endpoint = endpoint
        self.begun(connection)
        assert await connection.call("PING") == b"PONG"

    async def test_where_none_knows_each_is_said(self) -> None:
        away = f"127.0.0.1:{free_port()}"
        other = self.sentinel(b"*-1\r\n")
        reason = await self.down(self.connection(self.url(away, other)))
        assert "Redis sentinel:main/0: no sentinel names its master" in reason
        assert f"{away}: Connection refused" in reason
        assert f"{other} knows no service 'main'" in reason

    async def test_a_password_of_the_sentinels_is_their_own(self) -> None:
        said: list[bytes] = []
        self.server.command("CONFIG", "SET", "requirepass", "of-the-server")
        self.server.password = "of-the-server"
        url = pretender(self, lambda: [b"+OK\r\n", named(self.server.port)], said)
        address = url.removeprefix("redis://").removesuffix("/0")
        connection = self.connection(
            f"redis+sentinel://:of-the-server@{address}/main"
            "?sentinel_username=me&sentinel_password=of-the-sentinel"
        )
        assert await connection.call("PING") == b"PONG"
        assert b"AUTH\r\n$2\r\nme\r\n$15\r\nof-the-sentinel\r\n" in b"".join(said)
        assert b"of-the-server" not in b"".join(said)

    async def test_a_wrong_one_is_said_without_it(self) -> None:
        address = self.sentinel(b"-WRONGPASS invalid username-password pair\r\n")
        url = f"{self.url(address)}?sentinel_password=hush"
        reason = await self.down(self.connection(url))
        assert "it refuses the user or the password" in reason
        assert "hush" not in reason + "".join(self.said)

    async def test_a_replica_that_is_named_is_refused_until_it_is_the_master(self) -> None:
        self.server.command("REPLICAOF", "127.0.0.1", 1)
        connection = self.connection(self.url(self.sentinel(named(self.server.port))))
        assert "is a replica" in await self.down(connection)
        self.server.command("REPLICAOF", "NO", "ONE")
        await self.up(connection)

    async def test_a_sentinel_given_as_a_server_is_said(self) -> None:
        setup = self.enterContext(redis_with_sentinels())
        reason = await self.down(self.connection(f"redis://127.0.0.1:{setup.sentinels[0].port}/0"))
        assert "is a sentinel: write redis+sentinel://, or sentinels and services" in reason

    async def test_stopping_while_it_asks_leaves_nothing(self) -> None:
        url = self.url(self.sentinel(), self.sentinel())
        connection = self.connection(url)
        held = connection.call("PING")
        for _ in range(3):
            await deferLater(reactor, 0)
        await gatherResults([connection.stop(), connection.stop()])
        assert isinstance(await self.failure_of(held), LayerUnavailable)

    def test_files_for_tls_are_looked_at_at_once(self) -> None:
        for query in ("tls=yes", "sentinel_tls=yes"):
            server = server_of(f"redis+sentinel://h/main?{query}&ca_certs=/no/such/file")
            with self.assertRaises(ConfigurationError):
                Connection(server, reactor)
