"""Connections to real servers: log in, choose, lose and find again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from chanserv.errors import ChannelLayerError, ConfigurationError, LayerUnavailable
from chanserv.layers.redis.connection import Commands, Connection, Limits
from chanserv.layers.redis.refusals import Refused
from chanserv.layers.redis.script import Script
from tests.certificates import Certificates, make_certificates
from tests.layers.redis.connections import (
    QUICK,
    WAIT_SECONDS,
    ConnectionCase,
    pretender,
    reactor,
    server_of,
    until,
)
from tests.redis_servers import RedisServer, redis_server


def not_at_once() -> float:
    """For C{random}: the way back takes so long that the loss can be seen."""
    return 1.0


IMPATIENT = Limits(longest_back_off=0.2, refused_back_off=0.2, patience=0.3)

HELLO = b"*4\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
"""As much of an answer to C{HELLO} as is looked at."""


class WithServer(ConnectionCase):
    """Has a server for each test."""

    options: tuple[str, ...] = ()
    keywords: dict[str, Any] = {}
    server: RedisServer

    def setUp(self) -> None:
        super().setUp()
        self.server = self.run_server(*self.options, **self.keywords)

    def run_server(self, *options: str, **keywords: Any) -> RedisServer:
        return self.enterContext(redis_server(*options, **keywords))


class CommandsMixin:
    """What commands do, whoever reads the replies."""

    async def test_values_come_back_byte_for_byte(self: Any) -> None:
        connection = self.connection(self.server.url)
        everything = bytes(range(256)) + b"\r\n"
        assert await connection.call("SET", b"k\xff", everything) == b"OK"
        assert await connection.call("GET", b"k\xff") == everything
        assert await connection.call("SET", "n", "007") == b"OK"
        assert await connection.call("GET", "n") == b"007"
        assert await connection.call("GET", "none") is None
        assert await connection.call("INCR", "i") == 1

    async def test_a_message_of_megabytes_comes_back(self: Any) -> None:
        connection = self.connection(self.server.url)
        large = bytes(range(256)) * 20_000
        await connection.call("SET", "large", large)
        replies = await gatherResults([connection.call("GET", "large") for _ in range(3)])
        assert replies == [large] * 3

    async def test_thousands_at_once_are_answered_in_order(self: Any) -> None:
        connection = self.connection(self.server.url)
        await self.up(connection)
        replies = await gatherResults([connection.call("INCR", "n") for _ in range(5_000)])
        assert replies == list(range(1, 5_001))

    async def test_a_script_answers_with_whatever_lua_has(self: Any) -> None:
        connection = self.connection(self.server.url)
        script = Script.of(
            "all", b"return {KEYS[1], ARGV[1], 1, {}, {ok='S'}, {err='E no'}, false}"
        )
        *answer, error, last = await connection.run(script, ["k"], [b"\0"])
        assert answer == [b"k", b"\0", 1, [], b"S"]
        assert isinstance(error, Exception)
        assert last is None

    async def test_what_two_connections_are_refused_for_is_said_once(self) -> None:
        url = self.server.url + "?username=one&password=hush"
        connection = self.connection(url)
        bell = self.subscription(url, channels=["c"], heard=lambda _, __: None, beside=connection)
        await self.down(connection)
        await self.down(bell)
        (line,) = self.said
        assert "it refuses the user or the password" in line

    async def test_what_one_of_two_connections_is_refused_for_is_said(self) -> None:
        self.server.command("ACL", "SETUSER", "one", "on", ">hush", "+@all", "-subscribe", "~*")
        url = self.server.url + "?username=one&password=hush"
        connection = self.connection(url)
        self.subscription(url, channels=["c"], heard=lambda _, __: None, beside=connection)
        await self.up(connection)
        await until(lambda: self.said, "it is said")
        assert "'subscribe' command" in self.said[0]

    async def test_why_there_is_no_connection_is_said_in_plain_words(self) -> None:
        missing = f"{self.server.path}.missing"
        connection = self.connection(f"redis+unix://{missing}")
        error = await self.failure_of(connection.call("PING"))
        assert str(error) == f"Redis unix:{missing}: No such file or directory"

    async def test_a_script_that_the_server_has_forgotten_is_told_it_again(self: Any) -> None:
        connection = self.connection(self.server.url)
        script = Script.of("count", b"return redis.call('INCR', KEYS[1])")
        assert await connection.run(script, ["n"]) == 1
        self.server.command("SCRIPT", "FLUSH")
        replies = await gatherResults([connection.run(script, ["n"]) for _ in range(50)])
        assert replies == list(range(2, 52))
        # It is known again.
        assert b":1\r\n" in self.server.command("SCRIPT", "EXISTS", script.sha)

    async def test_an_error_names_the_server(self: Any) -> None:
        connection = self.connection(self.server.url)
        await connection.call("SET", "k", "v")
        error = await self.failure_of(connection.call("LPUSH", "k", 1))
        assert type(error) is ChannelLayerError
        assert connection.server.name in str(error)
        assert await connection.call("PING") == b"PONG"

    async def test_what_is_published_is_heard(self: Any) -> None:
        heard: list[tuple[bytes, bytes]] = []
        ready: list[bool] = []
        subscription = self.subscription(
            self.server.url,
            channels=["a", b"b"],
            heard=lambda *message: heard.append(message),
            ready=lambda: ready.append(subscription.up),
        )
        await until(lambda: ready, "it is subscribed")
        assert ready == [True]
        self.server.commands([["PUBLISH", "a", "1"], ["PUBLISH", "c", "2"], ["PUBLISH", "b", "3"]])
        await until(lambda: len(heard) == 2, "both are heard")
        assert heard == [(b"a", b"1"), (b"b", b"3")]


class TestCommandsReadByHiredis(CommandsMixin, WithServer):
    by_hiredis = True


class TestCommandsReadInPython(CommandsMixin, WithServer):
    by_hiredis = False


class TestSubscription(WithServer):
    async def test_it_subscribes_again_when_the_server_is_back(self) -> None:
        heard: list[bytes] = []
        ready: list[None] = []
        lost: list[None] = []
        subscription = self.subscription(
            self.server.url,
            channels=["a"],
            heard=lambda _, payload: heard.append(payload),
            ready=lambda: ready.append(None),
            lost=lambda: lost.append(None),
        )
        await until(lambda: len(ready) == 1, "it is subscribed")
        self.server.restart()
        await until(lambda: len(ready) == 2, "it is subscribed again")
        assert len(lost) == 1
        assert subscription.up
        self.server.command("PUBLISH", "a", "x")
        await until(lambda: heard == [b"x"], "it is heard")

    async def test_a_fault_of_who_hears_costs_one_message(self) -> None:
        heard: list[bytes] = []

        def hear(_: bytes, payload: bytes) -> None:
            heard.append(payload)
            if payload == b"1":
                raise ValueError("on purpose")

        subscription = self.subscription(self.server.url, channels=["a"], heard=hear)
        await self.up(subscription)
        self.server.commands([["PUBLISH", "a", "1"], ["PUBLISH", "a", "2"]])
        await until(lambda: heard == [b"1", b"2"], "both are heard")
        assert len(self.flushLoggedErrors(ValueError)) == 1

    async def test_a_server_that_stands_still_is_noticed(self) -> None:
        lost: list[None] = []
        subscription = self.subscription(
            f"{self.server.url}?reply_timeout=0.5",
            channels=["a"],
            heard=lambda *_: None,
            lost=lambda: lost.append(None),
            ping_interval=0.2,
        )
        await self.up(subscription)
        self.server.pause()
        await until(lambda: lost, "the silence is noticed")
        self.server.resume()
        await self.up(subscription)


class TestLogIn(ConnectionCase):
    def server(self, *options: str, **keywords: Any) -> RedisServer:
        return self.enterContext(redis_server(*options, **keywords))

    async def test_with_a_password(self) -> None:
        server = self.server(password="hush")
        assert await self.connection(server.url).call("PING") == b"PONG"

    async def test_without_the_password_it_is_asked_for(self) -> None:
        server = self.server(password="hush")
        reason = await self.down(self.connection(f"redis+unix://{server.path}"))
        assert "it wants a password: give one in the URL, or in connection_kwargs" in reason

    async def test_a_wrong_password_is_said_and_tried_again_until_it_is_right(self) -> None:
        server = self.server(password="hush")
        connection = self.connection(f"redis+unix://{server.path}?password=secret")
        reason = await self.down(connection)
        assert "it refuses the user or the password" in reason
        assert connection.server.name in reason
        server.command("CONFIG", "SET", "requirepass", "secret")
        await self.up(connection)
        assert await connection.call("PING") == b"PONG"
        refusals = [line for line in self.said if "refuses the user or the password" in line]
        assert len(refusals) == 1
        assert "secret" not in "".join(self.said) + reason
        assert "is back after" in self.said[-1]

    async def test_as_a_user_who_may_do_only_what_is_needed(self) -> None:
        # To log in, and to be asked for its version and role, a user needs no right.
        rights = ("+ping", "+evalsha", "+eval", "+subscribe", "+select", "+set")
        server = self.server(
            users=["site on >hush ~chanserv:* &chanserv:* -@all " + " ".join(rights)]
        )
        url = f"redis+unix://site:hush@{server.path}?db=3"
        connection = self.connection(url)
        script = Script.of("set", b"return redis.call('SET', KEYS[1], ARGV[1])")
        assert await connection.run(script, ["chanserv:k"], ["v"]) == b"OK"
        for forbidden in (
            connection.call("SET", "other", "v"),
            connection.call("FLUSHALL"),
            connection.run(script, ["other"], ["v"]),
            connection.run(
                Script.of("incr", b"return redis.call('INCR', KEYS[1])"), ["chanserv:n"]
            ),
            connection.run(Script.of("key", b"return redis.call('SET', 'other', 1)")),
        ):
            error = await self.failure_of(forbidden)
            assert isinstance(error, Refused)
            assert "its ACL does not let this user do that" in str(error)
        assert connection.up
        await self.up(self.subscription(url, channels=["chanserv:x"], heard=lambda *_: None))

    async def test_a_channel_that_the_user_may_not_hear_is_said(self) -> None:
        server = self.server(users=["site on >hush ~* &chanserv:* +@all"])
        subscription = self.subscription(
            f"redis+unix://site:hush@{server.path}", channels=["other"], heard=lambda *_: None
        )
        assert "its ACL does not let this user do that" in await self.down(subscription)
        assert any("its ACL" in line for line in self.said)

    async def test_each_database_by_its_number(self) -> None:
        server = self.server()
        await self.connection(f"{server.url}?db=5").call("SET", "k", "v")
        assert server.commands([["SELECT", 5], ["GET", "k"]])[-1] == b"$1\r\nv\r\n"
        assert await self.connection(server.url).call("GET", "k") is None

    async def test_a_database_that_is_not_there_is_said(self) -> None:
        server = self.server()
        reason = await self.down(self.connection(f"{server.url}?db=99"))
        assert "it has no database of that number" in reason

    async def test_the_server_knows_the_connection_by_name(self) -> None:
        server = self.server()
        await self.connection(server.url, client_name="chanserv-7").call("PING")
        assert b" name=chanserv-7 " in server.command("CLIENT", "LIST")


class TestWrongServers(ConnectionCase):
    def answering(self, *answers: bytes) -> Connection:
        return self.connection(pretender(self, lambda: list(answers)))

    async def test_one_that_is_too_old_is_said(self) -> None:
        old = HELLO.replace(b"7.0.0", b"6.0.9")
        reason = await self.down(self.answering(old))
        assert "too old: the layer needs 6.2 or later, and it is 6.0.9" in reason

    async def test_one_so_old_that_it_knows_no_hello_is_said(self) -> None:
        reason = await self.down(self.answering(b"-ERR unknown command `HELLO`, with args:\r\n"))
        assert "too old: the layer needs 6.2 or later, and it does not know HELLO" in reason

    async def test_one_that_is_new_enough_serves(self) -> None:
        new = HELLO.replace(b"$5\r\n7.0.0", b"$6\r\n10.1.2")
        assert await self.answering(new, b"+PONG\r\n").call("PING") == b"PONG"

    async def test_one_that_is_no_redis_is_said(self) -> None:
        reason = await self.down(self.answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        assert "does not speak Redis' protocol" in reason

    async def test_one_that_says_nothing_is_given_up(self) -> None:
        url = pretender(self, list) + "?connect_timeout=0.3"
        assert "it did not answer in time" in await self.down(self.connection(url))

    async def test_one_that_hangs_up_is_said(self) -> None:
        url = pretender(self, lambda: [b"-ERR max number of clients reached\r\n"])
        assert "raise its maxclients" in await self.down(self.connection(url))

    async def test_one_that_still_loads_its_data_is_waited_for(self) -> None:
        loading = [[HELLO, b"-LOADING Redis is loading the dataset in memory\r\n"]] * 2
        answers = iter([*loading, [HELLO, b":1\r\n", b"+PONG\r\n"]])
        connection = self.connection(
            pretender(self, lambda: list(next(answers))),
            prepare=lambda link: link.call("EXISTS", "x"),
        )
        await self.up(connection)
        assert await connection.call("PING") == b"PONG"
        assert "still loading its data" in self.said[0]

    async def test_a_replica_is_refused_until_it_is_the_master(self) -> None:
        with redis_server() as server:
            server.command("REPLICAOF", "127.0.0.1", 1)
            connection = self.connection(server.url)
            assert "is a replica, and takes no writes" in await self.down(connection)
            server.command("REPLICAOF", "NO", "ONE")
            await self.up(connection)

    async def test_a_node_of_a_cluster_is_refused(self) -> None:
        node = b"*6" + HELLO.removeprefix(b"*4") + b"$4\r\nmode\r\n$7\r\ncluster\r\n"
        reason = await self.down(self.answering(node))
        assert "a node of a cluster, which is not supported" in reason


class TestTLS(ConnectionCase):
    certificates: Certificates

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.certificates = make_certificates(folder / "good")
        cls.others = make_certificates(folder / "other")
        cls.elsewhere = make_certificates(folder / "elsewhere", ["elsewhere.example"])
        cls.both = folder / "both.pem"
        cls.both.write_bytes(cls.others.ca.read_bytes() + cls.certificates.ca.read_bytes())
        cls.server = cls.enterClassContext(redis_server(tls=cls.certificates))
        cls.strangers = cls.enterClassContext(redis_server(tls=cls.elsewhere))

    def url(self, server: RedisServer, **query: object) -> str:
        options = "&".join(f"{key}={value}" for key, value in query.items())
        return f"rediss://127.0.0.1:{server.port}/0?{options}"

    async def test_a_certificate_of_an_authority_that_is_trusted(self) -> None:
        assert await self.connection(self.server.url).call("PING") == b"PONG"

    async def test_a_host_by_its_name(self) -> None:
        url = self.server.url.replace("127.0.0.1", "localhost")
        assert await self.connection(url).call("PING") == b"PONG"

    async def test_a_file_may_hold_several_authorities(self) -> None:
        connection = self.connection(self.url(self.server, ca_certs=self.both))
        assert await connection.call("PING") == b"PONG"

    async def test_a_certificate_of_another_authority_is_refused(self) -> None:
        reason = await self.down(self.connection(self.url(self.server, ca_certs=self.others.ca)))
        assert "TLS failed: certificate verify failed" in reason

    async def test_the_platform_does_not_trust_ours(self) -> None:
        reason = await self.down(self.connection(self.url(self.server)))
        assert "TLS failed: certificate verify failed" in reason

    async def test_a_certificate_of_another_host_is_refused(self) -> None:
        url = self.url(self.strangers, ca_certs=self.elsewhere.ca)
        reason = await self.down(self.connection(url))
        assert "its certificate does not name this host" in reason

    async def test_the_hosts_name_is_not_checked_if_so_told(self) -> None:
        query = {"ca_certs": self.elsewhere.ca, "check_hostname": "no"}
        connection = self.connection(self.url(self.strangers, **query))
        assert await connection.call("PING") == b"PONG"

    async def test_the_authority_still_is_then(self) -> None:
        query = {"ca_certs": self.others.ca, "check_hostname": "no"}
        reason = await self.down(self.connection(self.url(self.strangers, **query)))
        assert "TLS failed: certificate verify failed" in reason

    async def test_nothing_is_checked_if_so_told(self) -> None:
        for server in (self.server, self.strangers):
            connection = self.connection(self.url(server, verify="no"))
            assert await connection.call("PING") == b"PONG"

    async def test_a_server_may_ask_for_our_certificate(self) -> None:
        self.server.command("CONFIG", "SET", "tls-auth-clients", "yes")
        self.addCleanup(self.server.command, "CONFIG", "SET", "tls-auth-clients", "no")
        own = {"certfile": self.certificates.cert, "keyfile": self.certificates.key}
        for more in ({}, {"check_hostname": "no"}):
            url = self.url(self.server, ca_certs=self.certificates.ca, **own, **more)
            assert await self.connection(url).call("PING") == b"PONG"
        reason = await self.down(self.connection(self.server.url))
        assert "TLS failed" in reason or "closed the connection" in reason

    async def test_many_messages_go_through(self) -> None:
        connection = self.connection(self.server.url)
        large = bytes(range(256)) * 4_000
        await gatherResults([connection.call("RPUSH", "list", large) for _ in range(5)])
        assert await connection.call("LRANGE", "list", 0, -1) == [large] * 5

    def test_files_that_cannot_be_used_are_said_at_once(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            empty = Path(folder) / "empty.pem"
            empty.write_text("")
            broken = Path(folder) / "broken.pem"
            broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            for query, says in (
                ({"ca_certs": f"{folder}/none"}, "none' cannot be read: No such file"),
                ({"ca_certs": empty}, "holds no certificate in PEM form"),
                ({"ca_certs": broken}, "cannot be read"),
                ({"certfile": self.certificates.cert}, "cannot be used"),
                ({"certfile": self.certificates.cert, "keyfile": empty}, "cannot be used"),
                ({"certfile": self.certificates.cert, "keyfile": self.others.key}, "cannot be"),
            ):
                with self.assertRaises(ConfigurationError) as caught:
                    Connection(server_of(self.url(self.server, **query)), reactor)
                assert says in str(caught.exception)


class TestLossAndReturn(WithServer):
    async def test_commands_wait_until_it_is_known_whether_it_is_there(self) -> None:
        connection = self.connection(self.server.url)
        assert not connection.up
        replies = [connection.call("RPUSH", "k", number) for number in range(3)]
        assert await gatherResults(replies) == [1, 2, 3]

    async def test_one_that_was_never_started_says_so(self) -> None:
        connection = Connection(server_of(self.server.url), reactor)
        error = await self.failure_of(connection.call("PING"))
        assert isinstance(error, LayerUnavailable)
        assert "has not been started" in str(error)

    async def test_a_server_that_is_not_there_fails_commands_at_once(self) -> None:
        self.server.kill()
        connection = self.connection(self.server.url, limits=Limits())
        error = await self.failure_of(connection.call("PING"))
        assert isinstance(error, LayerUnavailable)
        assert connection.server.name in str(error)
        again = connection.call("PING")
        assert again.called
        await self.failure_of(again)

    async def test_a_server_that_does_not_answer_fails_commands_when_patience_ends(self) -> None:
        self.server.pause()
        connection = self.connection(self.server.url, limits=IMPATIENT)
        error = await self.failure_of(connection.call("PING"))
        assert "has not answered for 0.3 s" in str(error)
        again = connection.call("PING")
        assert again.called
        await self.failure_of(again)
        self.server.resume()
        await self.up(connection)
        assert await connection.call("PING") == b"PONG"

    async def test_only_so_many_commands_wait(self) -> None:
        self.server.pause()
        connection = self.connection(
            self.server.url, limits=Limits(max_waiting=2, patience=WAIT_SECONDS)
        )
        held = [connection.call("PING"), connection.call("PING")]
        error = await self.failure_of(connection.call("PING"))
        assert "2 commands wait for it" in str(error)
        self.server.resume()
        assert await gatherResults(held) == [b"PONG", b"PONG"]

    async def test_a_command_that_was_cancelled_as_it_waited_is_not_sent(self) -> None:
        connection = self.connection(self.server.url)
        held = [connection.call("INCR", "n"), connection.call("INCR", "n")]
        held[0].cancel()
        await self.failure_of(held[0])
        assert await held[1] == 1

    async def test_after_a_restart_commands_go_out_again(self) -> None:
        lost: list[bool] = []
        connection = self.connection(self.server.url, lost=lambda: lost.append(connection.up))
        await connection.call("SET", "k", "v")
        self.server.restart()
        await until(lambda: lost, "the loss is told")
        assert lost == [False]
        await self.up(connection)
        assert await connection.call("GET", "k") is None

    async def test_a_loss_and_a_return_are_a_line_in_the_log_each(self) -> None:
        connection = self.connection(self.server.url)
        silent = self.connection(self.server.url, reports=False)
        await gatherResults([connection.call("PING"), silent.call("PING")])
        assert self.said == []
        self.server.kill()
        await until(lambda: not connection.up and not silent.up, "the loss is noticed")
        # Some attempts that fail say nothing.
        await deferLater(reactor, 1)
        self.server.start()
        await gatherResults([self.up_of(connection), self.up_of(silent)])
        assert len(self.said) == 2
        assert connection.server.name in self.said[0]
        assert "it closed the connection; it is tried again until it serves" in self.said[0]
        assert f"Redis {connection.server.name} is back after " in self.said[1]

    def up_of(self, connection: Connection) -> Deferred[None]:
        return Deferred.fromCoroutine(self.up(connection))

    async def test_what_was_under_way_fails_and_is_never_sent_again(self) -> None:
        server = self.run_server(keeps_data=True)
        connection = self.connection(server.url)
        await connection.call("SET", "n", 0)
        server.pause()
        under_way = [connection.call("INCR", "n") for _ in range(5)]
        await deferLater(reactor, 0.05)
        server.kill()
        for reply in under_way:
            assert isinstance(await self.failure_of(reply), LayerUnavailable)
        server.start()
        await self.up(connection)
        # The server may have read some before it ended, but none twice and none later.
        count = int(await connection.call("GET", "n"))
        assert count <= 5
        assert await connection.call("INCR", "n") == count + 1

    async def test_a_server_that_stands_still_is_left_and_found_again(self) -> None:
        connection = self.connection(f"{self.server.url}?reply_timeout=1", limits=IMPATIENT)
        await self.answered(connection)
        self.server.pause()
        assert "has been silent for 1 s while 1 commands waited" in await self.down(connection)
        # Until the next attempt fails too nobody knows, and commands wait: not for long.
        assert "has not answered for 0.3 s" in await self.down(connection)
        self.server.resume()
        await self.answered(connection)

    async def answered(self, connection: Connection) -> None:
        """Wait for an answer.  A slow machine may fail some in the meantime."""
        while True:
            try:
                assert await connection.call("PING") == b"PONG"
            except LayerUnavailable:
                await deferLater(reactor, 0.05)
            else:
                return

    async def test_a_master_that_became_a_replica_is_left(self) -> None:
        connection = self.connection(self.server.url)
        await connection.call("PING")
        self.server.command("REPLICAOF", "127.0.0.1", 1)
        error = await self.failure_of(connection.call("SET", "k", "v"))
        assert isinstance(error, LayerUnavailable)
        await until(lambda: not connection.up, "it is left")
        assert "replica" in await self.down(connection)
        self.server.command("REPLICAOF", "NO", "ONE")
        await self.up(connection)

    async def test_a_server_without_memory_refuses_and_stays(self) -> None:
        connection = self.connection(self.server.url)
        await connection.call("PING")
        self.server.command("CONFIG", "SET", "maxmemory", "1")
        script = Script.of("set", b"return redis.call('SET', KEYS[1], 'v')")
        for refused in (connection.call("SET", "k", "v"), connection.run(script, ["k"])):
            error = await self.failure_of(refused)
            assert isinstance(error, Refused)
            assert error.code == "OOM"
        assert connection.up
        self.server.command("CONFIG", "SET", "maxmemory", "0")
        assert await connection.call("SET", "k", "v") == b"OK"


class TestPreparing(WithServer):
    async def test_each_connection_is_prepared_before_others_use_it(self) -> None:
        async def prepare(link: Commands) -> None:
            assert not connection.up
            await link.call("RPUSH", "k", "first")
            await deferLater(reactor, 0.05)
            await link.run(Script.of("x", b"return redis.call('RPUSH', KEYS[1], 'second')"), ["k"])

        connection = self.connection(
            self.server.url,
            prepare=lambda link: Deferred.fromCoroutine(prepare(link)),
            random=not_at_once,
        )
        await connection.call("RPUSH", "k", "third")
        expected = [b"first", b"second", b"third"]
        assert await connection.call("LRANGE", "k", 0, -1) == expected
        self.server.restart()
        await until(lambda: not connection.up, "the loss is noticed")
        await self.up(connection)
        assert await connection.call("LRANGE", "k", 0, -1) == expected[:2]

    async def test_when_it_fails_another_connection_is_tried(self) -> None:
        tries: list[None] = []

        def prepare(link: Commands) -> Deferred[Any]:
            tries.append(None)
            return link.call("PING" if len(tries) > 2 else "NO-SUCH-COMMAND")

        connection = self.connection(self.server.url, prepare=prepare)
        assert "unknown command" in await self.down(connection)
        await self.up(connection)
        assert len(tries) == 3

    async def test_a_fault_of_ours_is_logged_and_tried_again(self) -> None:
        tries: list[None] = []

        def prepare(link: Commands) -> None:
            tries.append(None)
            if len(tries) == 1:
                raise ValueError("on purpose")

        connection = self.connection(self.server.url, prepare=prepare)
        assert "could not be prepared: on purpose" in await self.down(connection)
        await self.up(connection)
        assert len(self.flushLoggedErrors(ValueError)) == 1

    async def test_a_loss_meanwhile_ends_it(self) -> None:
        tries: list[Deferred[None]] = []

        def prepare(link: Commands) -> Deferred[None] | None:
            if tries:
                return None
            tries.append(Deferred())
            return tries[0]

        connection = self.connection(self.server.url, prepare=prepare)
        await until(lambda: tries, "it is being prepared")
        self.server.restart()
        await self.up(connection)
        assert tries[0].called

    async def test_a_fault_of_who_is_told_of_a_loss_is_logged(self) -> None:
        def lost() -> None:
            raise ValueError("on purpose")

        connection = self.connection(self.server.url, lost=lost, random=not_at_once)
        await self.up(connection)
        self.server.restart()
        await until(lambda: not connection.up, "the loss is noticed")
        await self.up(connection)
        assert len(self.flushLoggedErrors(ValueError)) == 1


class TestStopping(WithServer):
    async def test_what_waits_and_what_is_under_way_fails(self) -> None:
        connection = self.connection(self.server.url)
        await self.up(connection)
        self.server.pause()
        under_way = connection.call("PING")
        await connection.stop()
        for reply in (under_way, connection.call("PING")):
            error = await self.failure_of(reply)
            assert isinstance(error, LayerUnavailable)
            assert "closed" in str(error)
        assert not connection.up

    async def test_what_was_sent_just_before_arrives(self) -> None:
        connection = self.connection(self.server.url)
        await self.up(connection)
        under_way = connection.call("SET", "k", "v")
        await connection.stop()
        await self.failure_of(under_way)
        await until(lambda: self.server.command("GET", "k") == b"$1\r\nv\r\n", "it arrives")

    async def test_at_any_moment_nothing_is_left(self) -> None:
        # Whatever was left would make trial fail this test.
        for turns in range(12):
            connection = Connection(server_of(self.server.url), reactor, limits=QUICK)
            connection.start()
            held = connection.call("PING")
            held.addErrback(lambda failure: failure.trap(LayerUnavailable))
            for _ in range(turns):
                await deferLater(reactor, 0)
            await gatherResults([connection.stop(), connection.stop()])
            await held
            assert not connection.up

    async def test_while_it_rests_between_attempts(self) -> None:
        self.server.kill()
        connection = self.connection(self.server.url)
        await self.down(connection)
        await connection.stop()
        await connection.stop()

    async def test_while_it_is_being_prepared(self) -> None:
        waiting: Deferred[None] = Deferred()
        begun: list[None] = []

        def prepare(link: Commands) -> Deferred[None]:
            begun.append(None)
            return waiting

        connection = self.connection(self.server.url, prepare=prepare)
        held = connection.call("PING")
        await until(lambda: begun, "it is being prepared")
        await connection.stop()
        assert waiting.called
        await self.failure_of(held)
        assert b"name=chanserv" not in self.server.command("CLIENT", "LIST")

    async def test_it_can_be_started_again(self) -> None:
        connection = self.connection(self.server.url)
        await connection.call("PING")
        await connection.stop()
        connection.start()
        connection.start()
        assert await connection.call("PING") == b"PONG"
