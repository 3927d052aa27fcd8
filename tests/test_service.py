"""Tests for C{chanserv.service} and C{chanserv.server.listener}, without a site."""

from __future__ import annotations

import resource
import sys
from threading import Event
from unittest import SkipTest

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from chanserv.core.defaults import PROCESSES_GROUP, WORKERS_GROUP
from chanserv.errors import ConfigurationError, LayerUnavailable
from chanserv.layers import MemoryChannelLayer
from chanserv.ops.ask import Answers
from chanserv.running.config import Config
from chanserv.running.ready import ASK_AGAIN_AFTER
from chanserv.server.endpoints import LISTEN_BACKLOG
from chanserv.server.listener import CannotStart, Listener, _url_of
from chanserv.service import (
    SWITCH_INTERVAL,
    ChanservService,
    _serves_clients,
    make_service,
)
from chanserv.testing.fakes import PlainLayer
from chanserv.worker.roll import Roll, Standing
from chanserv.worker.team import ThreadTeam
from tests.worker.fakes import PATIENCE, FakeApplication, TurningReactor

SHARED = "tests.test_service:shared_layer"


def lines(events) -> list[str]:
    return [formatEvent(event) or "" for event in events]


def shared_layer_for_tests():
    """A provider of the layer contract that is no memory layer to the eye."""
    from zope.interface import directlyProvides

    from chanserv.interfaces import IChannelLayer

    class Layer:
        settles = True
        expiry = 60.0
        group_expiry = 86400.0
        extensions: tuple[str, ...] = ()
        closed = 0
        error: Exception | None = None

        def global_statistics(self):
            return succeed({}) if self.error is None else fail(self.error)

        def receive(self, channels, limit=1):
            return Deferred()

        def close(self):
            self.closed += 1
            return succeed(None)

    layer = Layer()
    directlyProvides(layer, IChannelLayer)
    return layer


shared_layer = shared_layer_for_tests()


class TestConfig:
    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"threads": -1}, "--threads=-1"),
            ({"threads": 1001}, "--threads=1001 must not be above 1000"),
            ({"listen": ()}, "--no-listen without --settings"),
            ({"listen": (), "settings": "mysite.settings", "threads": 0}, "--threads=0"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, values, said: str) -> None:
        with pytest.raises(ConfigurationError, match=said):
            Config(**values)


class TestMakeService:
    def test_a_memory_layer_without_a_site_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="nobody would answer"):
            make_service(Config(), TurningReactor())

    def test_an_interface_server_alone_needs_a_layer_that_others_reach(self) -> None:
        reactor = MemoryReactorClock()
        service = make_service(Config(layer=SHARED), reactor)
        assert service.team is None
        assert service.server is not None
        assert service.layer is shared_layer
        service.startService()
        (port,) = reactor.tcpServers
        assert port[0] == 8000
        assert port[3] == "127.0.0.1"

    def test_an_unknown_layer_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="unknown channel layer"):
            make_service(Config(layer="smoke-signals:"), MemoryReactorClock())

    def test_a_bad_endpoint_is_refused_before_anything_is_started(self) -> None:
        reactor = MemoryReactorClock()
        with pytest.raises(ConfigurationError, match="is not an endpoint"):
            make_service(Config(layer=SHARED, listen=("tcp:0", "8000")), reactor)
        assert reactor.tcpServers == []

    def test_a_colon_that_needs_a_backslash_is_told_of_in_an_operators_words(self) -> None:
        with pytest.raises(ConfigurationError, match=r"a ':' within a value is written \\:"):
            Listener("tcp:8000:interface=::1", Factory(), MemoryReactorClock())

    def test_a_password_in_a_layers_url_is_not_said(self) -> None:
        from chanserv.service import _summary

        text = _summary(
            Config(),
            "redis://user:secret@one:6379/0,redis://:more@two/1,redis+unix:///s?password=hidden",
        )
        for secret in ("secret", "more", "hidden"):
            assert secret not in text
        assert "one:6379/0" in text


class TestListener:
    def listener(self, description: str, reactor=None) -> tuple[Listener, MemoryReactorClock]:
        reactor = reactor or MemoryReactorClock()
        return Listener(description, Factory(), reactor), reactor

    def test_many_connections_may_wait_unless_the_endpoint_says_otherwise(self) -> None:
        for description, backlog in (("tcp:1", LISTEN_BACKLOG), ("tcp:1:backlog=7", 7)):
            listener, reactor = self.listener(description)
            listener.startService()
            assert reactor.tcpServers[0][2] == backlog

    def test_it_listens_once_when_privileges_come_first(self) -> None:
        listener, reactor = self.listener("tcp:1")
        listener.privilegedStartService()
        listener.startService()
        assert len(reactor.tcpServers) == 1

    @pytest.mark.parametrize(
        ("description", "address", "url"),
        [
            ("tcp:8000", IPv4Address("TCP", "127.0.0.1", 8000), "http://127.0.0.1:8000/"),
            ("tcp6:8000", IPv6Address("TCP", "::1", 8000), "http://[::1]:8000/"),
            ("ssl:443", IPv4Address("TCP", "0.0.0.0", 443), "https://0.0.0.0:443/"),
            ("unix:/run/x", UNIXAddress("/run/x"), "unix:/run/x"),
        ],
    )
    def test_it_says_where_a_browser_finds_it(self, description, address, url) -> None:
        assert _url_of(description, address) == url

    def test_an_endpoint_that_cannot_be_had_ends_the_start(self) -> None:
        listener, _ = self.listener("tcp:1")
        listener._endpoint = Refusing(fail(OSError(98, "Address already in use")))
        with pytest.raises(CannotStart) as caught:
            listener.startService()
        assert isinstance(caught.value, Exception)
        assert isinstance(caught.value, SystemExit)
        assert caught.value.code == (
            "chanserv: cannot listen on tcp:1: address already in use by another program, "
            "which 'ss -ltnp' names"
        )

    def test_an_endpoint_that_fails_later_ends_the_process_in_failure(self, monkeypatch) -> None:
        registered = []
        monkeypatch.setattr("atexit.register", registered.append)
        listener, reactor = self.listener("tcp:1")
        later: Deferred[None] = Deferred()
        listener._endpoint = Refusing(later)
        listener.startService()
        with capturedLogs() as events:
            later.errback(OSError(13, "Permission denied"))
        (line,) = lines(events)
        assert "cannot listen on tcp:1: permission denied" in line
        assert reactor.hasStopped
        assert len(registered) == 1


class Refusing:
    """An endpoint whose C{listen} gives what it is told to."""

    def __init__(self, result) -> None:
        self.result = result

    def listen(self, factory):
        return self.result


class Recorded:
    """A part of the service that notes when it stops."""

    def __init__(self, name: str, order: list[str], result=None) -> None:
        self.name = name
        self.order = order
        self.result = result

    def stopService(self):
        self.order.append(self.name)
        return self.result

    close = stopService

    def stop_begins(self):
        self.order.append("the stop begins")


class StartingAndStopping(SynchronousTestCase):
    def service(self, **parts) -> ChanservService:
        self.clock = Clock()
        service = ChanservService(shared_layer_for_tests(), "a test", self.clock.callLater)
        for name, part in parts.items():
            setattr(service, name, part)
        return service

    def test_it_says_that_it_is_ready_only_once_it_listens(self):
        service = self.service()
        listener = Listener("tcp:0:interface=127.0.0.1", Factory(), MemoryReactorClock())
        bound = Deferred()
        listener._endpoint = Refusing(bound)
        service.listeners.append(listener)
        with capturedLogs() as events:
            service.startService()
            self.assertEqual(lines(events), [])

            class Port:
                def getHost(self):
                    return IPv4Address("TCP", "127.0.0.1", 4711)

                def stopListening(self):
                    pass

            bound.callback(Port())
            self.clock.advance(0)
        (line,) = lines(events)
        self.assertIn("is ready: a test, at http://127.0.0.1:4711/", line)

    def test_it_says_that_it_is_ready_only_once_the_layer_answers(self):
        clock = Clock()
        layer = shared_layer_for_tests()
        layer.error = LayerUnavailable("nobody listens there")
        service = ChanservService(layer, "a test", clock.callLater)
        with capturedLogs() as events:
            service.startService()
            for _ in range(5):
                clock.advance(ASK_AGAIN_AFTER)
            (line,) = lines(events)
            self.assertIn("cannot be reached yet: nobody listens there", line)
            layer.error = None
            clock.advance(ASK_AGAIN_AFTER)
        self.assertIn("is ready: a test", lines(events)[1])
        self.assertEqual(len(events), 2)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_layer_without_statistics_is_no_reason_not_to_be_ready(self):
        layer = shared_layer_for_tests()
        layer.error = NotImplementedError("no statistics")
        with capturedLogs() as events:
            clock = Clock()
            ChanservService(layer, "a test", clock.callLater).startService()
            # Not before the reactor runs.
            self.assertEqual(lines(events), [])
            clock.advance(0)
        self.assertIn("is ready: a test", lines(events)[0])

    def test_it_can_be_stopped_before_its_layer_has_answered(self):
        clock = Clock()
        layer = shared_layer_for_tests()
        layer.error = LayerUnavailable("nobody listens there")
        service = ChanservService(layer, "a test", clock.callLater)
        service.startService()
        self.successResultOf(service.stopService())
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_it_stops_in_the_order_in_which_no_answer_is_lost(self):
        order: list[str] = []
        waiting = Deferred()
        service = self.service(
            listeners=[Recorded("listener", order)],
            server=Recorded("server", order, waiting),
            team=Recorded("team", order),
            layer=Recorded("layer", order),
            access_log=Recorded("access log", order),
        )
        service.running = 1
        stopped = service.stopService()
        again = service.stopService()
        self.assertEqual(order, ["the stop begins", "listener", "server"])
        self.assertNoResult(stopped)
        self.assertNoResult(again)
        waiting.callback(None)
        self.assertEqual(order[3:], ["team", "layer", "access log"])
        self.successResultOf(stopped)
        self.successResultOf(again)

    def test_a_part_that_fails_to_stop_does_not_keep_the_others_from_it(self):
        order: list[str] = []
        service = self.service(
            server=Recorded("server", order, fail(ZeroDivisionError())),
            layer=Recorded("layer", order),
        )
        self.successResultOf(service.stopService())
        self.assertEqual(order, ["server", "layer"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_where_the_system_allows_too_few_open_files_that_is_said(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard == resource.RLIM_INFINITY:
            raise SkipTest("this system allows any number of open files")
        service = self.service()
        service.connections = hard + 1
        with capturedLogs() as events:
            service.startService()
        (line,) = (line for line in lines(events) if "connections open" in line)
        self.assertIn(f"--max-connections is {hard + 1}", line)

    def test_with_a_team_busy_threads_leave_the_reactor_its_turn_sooner(self):
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(0.005)
        reactor = TurningReactor()
        layer = shared_layer_for_tests()
        service = self.service()
        service.team = ThreadTeam(layer, FakeApplication(lambda *_: None), reactor, 1)
        service.startService()
        self.assertAlmostEqual(sys.getswitchinterval(), SWITCH_INTERVAL)
        fired = []
        service.team.stopService().addCallback(fired.append)
        reactor.turn_until(lambda: fired)


class OpenLayer(PlainLayer):
    """A memory layer that others reach, as far as anybody can tell."""

    within_process = False


class WorkersStandOnARoll(SynchronousTestCase):
    def setUp(self):
        self.reactor = TurningReactor()
        self.memory = MemoryChannelLayer(call_from_thread=self.reactor.callFromThread)
        self.begun, self.go_on = Event(), Event()
        self.addCleanup(self.go_on.set)
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())

    def consume(self, channel, message, outbox):
        self.begun.set()
        self.go_on.wait(PATIENCE)

    def make(self):
        layer = OpenLayer(self.memory)
        service = ChanservService(layer, "a test", self.reactor.callLater)
        service.team = ThreadTeam(layer, FakeApplication(self.consume), self.reactor, 1)
        service.roll = Roll(layer, self.reactor)
        service.answers = Answers(layer, self.reactor, service.process)
        return service

    def members(self, group=WORKERS_GROUP):
        return self.successResultOf(self.memory.group_channels(group))

    def test_from_their_start_until_before_they_finish_what_runs(self):
        service = self.make()
        self.assertEqual(self.members(), [])
        service.startService()
        self.assertEqual(self.members(), [service.roll.channel])
        self.memory.send("http.request", {})
        self.assertTrue(self.begun.wait(PATIENCE))
        stopped = service.stopService()
        # What is sent now is for others, though something runs here still.
        self.assertEqual(self.members(), [])
        self.assertNoResult(stopped)
        self.assertEqual(len(self.members(PROCESSES_GROUP)), 1)
        self.go_on.set()
        fired = []
        stopped.addCallback(fired.append)
        self.reactor.turn_until(lambda: fired)
        self.assertIs(service.answers.roll.standing, Standing.OFF)

    def test_only_those_that_take_what_clients_send(self):
        for channels, expected in (
            (("http.request", "jobs.mail"), True),
            (("websocket.receive",), True),
            (("jobs.mail", "https.things"), False),
            ((), False),
        ):
            application = FakeApplication(self.consume, channels)
            team = ThreadTeam(self.memory, application, self.reactor, 1)
            self.assertEqual(_serves_clients(team), expected, channels)

    def test_an_interface_server_answers_who_asks_and_stands_on_no_roll_of_workers(self):
        service = make_service(Config(layer="tests.test_service:open_layer"), self.reactor)
        self.assertIsNone(service.roll)
        self.assertIsNotNone(service.answers)
        found = service.process.now()
        self.assertEqual((found.layer, list(found.workers)), ("tests.test_service:open_layer", []))
        self.assertEqual(found.mailbox, service.server.mailbox)

    def test_over_a_layer_without_groups_nobody_answers(self):
        service = make_service(Config(layer=SHARED), self.reactor)
        self.assertIsNone(service.answers)


open_layer = OpenLayer(MemoryChannelLayer())
