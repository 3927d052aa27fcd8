"""Greetings, errors and noise on the wire."""

from __future__ import annotations

import pytest

from chanserv.errors import (
    ChannelFull,
    ChannelLayerError,
    CorruptMessage,
    LayerUnavailable,
    MessageTooLarge,
)
from chanserv.layers.ipc import wire

MINE = wire.Greeting(42, {"expiry": 60.0, "redeliver": "'a.*'"}, 12.5)


def test_a_greeting_is_read_as_it_was_written() -> None:
    assert wire.read_greeting(wire.greeting(MINE)) == MINE


def test_a_refusal_is_raised_with_its_reason() -> None:
    with pytest.raises(LayerUnavailable, match=r"^not you$"):
        wire.read_greeting(wire.refusal("not you"))


def test_another_version_is_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = wire.greeting(MINE)
    monkeypatch.setattr(wire, "VERSION", 7)
    with pytest.raises(LayerUnavailable, match=r"protocol version 1 .* version 7: run one version"):
        wire.read_greeting(theirs)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", b"GET / HTTP/1.1", wire.packed(None), wire.packed([1, 2, 3]), wire.packed("x")],
)
def test_what_is_no_greeting_is_noise(payload: bytes) -> None:
    with pytest.raises(CorruptMessage):
        wire.read_greeting(payload)


@pytest.mark.parametrize(
    "error",
    [
        ChannelFull("channel", 3, 4, 1.5),
        MessageTooLarge("channel", 30, 20),
        LayerUnavailable("it is gone"),
    ],
)
def test_an_error_is_read_as_it_was_written(error: ChannelLayerError) -> None:
    read = wire.read_error(wire.unpacked(wire.packed(wire.written_error(error))))
    assert type(read) is type(error)
    assert str(read) == str(error)
    assert vars(read) == vars(error)
