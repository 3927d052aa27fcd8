"""The rules of a stream: windows, patience, and layers that give no receipts."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from chanserv.django.streaming import ReplyStream
from chanserv.errors import ChannelFull, ClientDisconnected
from chanserv.layers.blocking import face_of
from chanserv.layers.memory import MemoryChannelLayer

PART = {"content": b"x", "more_content": True}


class Settling:
    """A blocking face that gives the receipts that a test tells it to."""

    settles = True
    expiry = 60.0

    def __init__(self, *receipts: str | None) -> None:
        self.sent = 0
        self.receipts = list(receipts)
        self.asked: list[bool] = []

    def send(self, channel: str, message: Any, receipt: str | None) -> None:
        assert receipt is not None
        self.sent += 1

    def receive(self, channels: list[str], block: bool, timeout: float | None = None) -> Any:
        self.asked.append(block)
        receipt = self.receipts.pop(0) if self.receipts else None
        return (None, None) if receipt is None else (channels[0], {"receipt": receipt})


class Unsettling:
    """A blocking face of a layer that gives no receipts, and whose channel is full at times."""

    settles = False

    def __init__(self, full: int) -> None:
        self.full = full
        self.sent = 0

    def send(self, channel: str, message: Any, receipt: str | None) -> None:
        assert receipt is None
        if self.full:
            self.full -= 1
            raise ChannelFull(channel, 100, 100, 1.0)
        self.sent += 1


def stream(layer: Any, **options: Any) -> ReplyStream:
    return ReplyStream(layer, "x!1", **options)


def test_receipts_make_room_in_the_window() -> None:
    layer = Settling("settled", "settled")
    parts = stream(layer, window=2)
    for _ in range(4):
        parts.send(PART)
    assert layer.sent == 4
    assert layer.asked == [True, True]


def test_a_full_window_that_stays_full_ends_the_stream() -> None:
    parts = stream(Settling(), window=1, patience=0.0)
    parts.send(PART)
    with pytest.raises(ClientDisconnected, match="no part of the response was taken in 0 s"):
        parts.send(PART)


@pytest.mark.parametrize("outcome", ["lost", "expired"])
def test_a_part_that_nobody_took_ends_the_stream(outcome: str) -> None:
    parts = stream(Settling(outcome), window=1)
    parts.send(PART)
    with pytest.raises(ClientDisconnected, match="left before the response was whole"):
        parts.send(PART)


def test_a_slow_stream_looks_at_its_receipts_before_the_window_is_full() -> None:
    layer = Settling("settled", None, "lost")
    parts = stream(layer, look_interval=0.0)
    parts.send(PART)
    parts.send(PART)
    assert layer.asked == [False]
    parts.send(PART)
    with pytest.raises(ClientDisconnected):
        parts.send(PART)


class Rare(Settling):
    """A layer whose messages expire at once, so that every part comes late."""

    expiry = 0.0


def test_a_stream_of_rare_parts_does_not_wait_for_receipts_that_have_expired() -> None:
    layer = Rare()
    parts = stream(layer, window=2, patience=0.0, look_interval=0.0)
    for _ in range(10):
        parts.send(PART)
    assert layer.sent == 10


def test_a_stream_of_rare_parts_learns_at_once_that_its_client_has_left() -> None:
    layer = Rare(None, "settled", None, "lost")
    parts = stream(layer)
    parts.send(PART)
    with pytest.raises(ClientDisconnected):
        parts.send(PART)
    assert layer.sent == 2


def test_a_late_receipt_makes_no_more_room_than_the_window_has() -> None:
    layer = Rare("settled", "settled", None, "settled")
    parts = stream(layer, window=1, patience=0.0)
    parts.send(PART)
    layer.expiry = 60.0
    parts.send(PART)
    with pytest.raises(ClientDisconnected, match="no part"):
        parts.send(PART)


def test_a_full_channel_is_tried_again() -> None:
    layer = Unsettling(full=3)
    parts = stream(layer, full_wait=0.0)
    parts.send(PART)
    assert layer.sent == 1


def test_a_channel_that_stays_full_ends_the_stream() -> None:
    parts = stream(Unsettling(full=1000), patience=0.0, full_wait=0.0)
    with pytest.raises(ClientDisconnected, match="no part of the response was taken"):
        parts.send(PART)


def test_each_stream_has_receipts_of_its_own() -> None:
    layer = MemoryChannelLayer()
    face = face_of(layer, None)
    one, two = (ReplyStream(face, f"x!{number}", window=1) for number in (1, 2))
    one.send(PART)
    two.send(PART)
    taken = layer.receive(["x!"], 2)
    deliveries = taken.result  # type: ignore[attr-defined]
    waiting = threading.Thread(target=two.send, args=(PART,))
    waiting.start()
    deliveries[0].settle()
    one.send(PART)
    waiting.join(0.1)
    assert waiting.is_alive()
    deliveries[1].settle()
    waiting.join()
