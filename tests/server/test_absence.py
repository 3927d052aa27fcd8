"""A layer that goes away: what clients, the log and the groups make of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel

from chanserv.errors import LayerUnavailable
from chanserv.layers.memory import MemoryChannelLayer
from chanserv.messages import Delivery, Operation
from chanserv.server.absence import CALM, MAX_UNFORGOTTEN, Absence
from chanserv.server.trips import FORGET_AGAIN_AFTER
from tests.server.rig import HANDSHAKE, Rig, web


class Away(MemoryChannelLayer):
    """A layer that takes nothing while C{away}: as a whole, or each in its place."""

    away = False
    by_part = False

    def send_batch(
        self, operations: Sequence[Operation], settled: Sequence[Delivery] = ()
    ) -> Deferred[Any]:
        if self.away and self.by_part:
            return succeed([LayerUnavailable("the store is away") for _ in operations])
        if self.away:
            return fail(LayerUnavailable("the store is away"))
        return super().send_batch(operations, settled)


def at(events: list[Any], level: LogLevel) -> list[Any]:
    return [event for event in events if event["log_level"] is level]


@pytest.fixture(params=[False, True], ids=["the whole trip", "each in its place"])
def rig(request: pytest.FixtureRequest) -> Rig:
    layer = Away(clock=Clock())
    layer.by_part = request.param
    return Rig(web, layer=layer)


def test_clients_are_told_to_come_back_and_the_log_once(rig: Rig, said: list[Any]) -> None:
    socket = rig.connect().send(HANDSHAKE + b"\r\n")
    assert socket.take().startswith(b"HTTP/1.1 101 ")
    rig.layer.away = True
    for _ in range(20):
        status, headers, _ = rig.connect().get().response()
        assert status == 503
        assert headers[b"retry-after"] == b"5"
    status, headers, _ = rig.connect().send(HANDSHAKE + b"\r\n").response()
    assert status == 503
    assert headers[b"retry-after"] == b"5"
    socket.send(b"\x81\x82\0\0\0\0hi")
    assert socket.take() == b"\x88\x02\x03\xf5"  # close, 1013
    [warning] = at(said, LogLevel.warn)
    assert "the store is away" in warning["error"]
    assert rig.server.counts.unavailable >= 22


def test_when_the_layer_is_back_the_log_says_so_and_how_many_were_refused(
    rig: Rig, said: list[Any]
) -> None:
    rig.layer.away = True
    for _ in range(3):
        rig.connect().get()
    rig.layer.away = False
    assert rig.connect().get().status() == 200
    assert at(said, LogLevel.info) == []
    rig.advance(CALM + 1)
    assert rig.connect().get().status() == 200
    assert rig.connect().get().status() == 200
    [news] = at(said, LogLevel.info)
    assert news["refused"] == 3


def test_memberships_of_a_socket_that_left_meanwhile_end_when_the_layer_is_back(rig: Rig) -> None:
    socket = rig.connect().send(HANDSHAKE + b"\r\n")
    channel = rig.worker.named("websocket.connect")[0]["reply_channel"]
    rig.layer.group_add("group", channel)
    rig.layer.away = True
    socket.leave()
    rig.advance(60)
    rig.layer.away = False
    rig.advance(FORGET_AGAIN_AFTER + 1)
    members: list[Any] = []
    rig.layer.group_channels("group").addCallback(members.append)
    assert members == [[]]


def test_a_server_that_stops_while_the_layer_is_away_leaves_no_timer() -> None:
    layer = Away(clock=Clock())
    rig = Rig(web, layer=layer)
    socket = rig.connect().send(HANDSHAKE + b"\r\n")
    layer.away = True
    socket.leave()
    rig.advance(1)
    rig.server.stopService()
    rig.advance(60)
    assert rig.clock.getDelayedCalls() == []


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    absence = Absence()
    for number in range(MAX_UNFORGOTTEN + 10):
        absence.remember(f"process!{number}")
    assert len(absence.recall()) == MAX_UNFORGOTTEN
    assert absence.recall() == []
