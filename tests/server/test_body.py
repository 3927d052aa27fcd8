"""Large request bodies, from the socket to the worker that reads them."""

from __future__ import annotations

import gc
import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from chanserv.server import Limits
from chanserv.server.body import Spool
from tests.server.rig import OK, Client, Rig

SMALL = Limits(body_memory=1000, body_part=100, body_window=3)


def pattern(length: int) -> bytes:
    return bytes(number * 7 % 251 for number in range(length))


def upload(rig: Rig, body: bytes) -> Client:
    return rig.connect().send(
        b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )


class Reader:
    """Reads a body channel as a worker does, one part at a time."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        [request] = rig.worker.named("http.request")
        self.body: bytes = request["body"]
        self.channel: str = request["body_channel"]
        self.reply_channel: str = request["reply_channel"]
        self.more = True
        self.closed = False

    def waiting(self) -> int:
        found: list[Any] = []
        self.rig.layer.channel_statistics(self.channel).addCallback(found.append)
        return int(found[0]["messages_pending"])

    def read(self) -> int:
        """Read all that is there; how many parts that were."""
        found: list[Any] = []
        receive = self.rig.layer.receive([self.channel], limit=100)
        receive.addCallbacks(found.extend, lambda failure: None)
        receive.cancel()
        for delivery in found:
            assert self.more
            self.body += delivery.message.get("content", b"")
            self.more = delivery.message["more_content"]
            self.closed = delivery.message.get("closed", False)
            delivery.settle()
        self.rig.turn()
        return len(found)


def silent(channel: str, message: dict[str, Any]) -> None: ...


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_body_within_memory_is_part_of_the_message() -> None:
    rig = Rig(limits=SMALL)
    upload(rig, pattern(1000))
    [request] = rig.worker.named("http.request")
    assert request["body"] == pattern(1000)
    assert "body_channel" not in request


def test_a_larger_body_follows_over_its_own_channel() -> None:
    rig = Rig(silent, limits=SMALL)
    upload(rig, pattern(2550))
    reader = Reader(rig)
    assert reader.channel.startswith("http.request.body?")
    assert reader.body == pattern(100)
    while reader.read():
        pass
    assert not reader.more
    assert reader.body == pattern(2550)


def test_no_more_than_a_window_of_parts_waits_unread() -> None:
    rig = Rig(silent, limits=SMALL)
    client = upload(rig, pattern(2000))
    reader = Reader(rig)
    rig.advance(5)
    assert reader.waiting() == 3
    assert reader.read() == 3
    assert reader.waiting() == 3
    client.leave()


def test_a_body_in_chunks_follows_with_its_length() -> None:
    rig = Rig(silent, limits=SMALL)
    client = rig.connect().send(
        b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for start in range(0, 3000, 300):
        client.send(b"12c\r\n" + pattern(3000)[start : start + 300] + b"\r\n")
    client.send(b"0\r\n\r\n")
    [request] = rig.worker.named("http.request")
    assert [b"content-length", b"3000"] in request["headers"]
    reader = Reader(rig)
    while reader.read():
        pass
    assert reader.body == pattern(3000)


def test_the_file_of_a_body_is_closed_when_it_has_been_read() -> None:
    before = open_files()
    rig = Rig(silent, limits=SMALL)
    upload(rig, pattern(1500))
    assert open_files() == before + 1
    reader = Reader(rig)
    while reader.read():
        pass
    assert open_files() == before
    rig.reply(reader.reply_channel, OK)


def test_the_file_of_a_body_is_closed_when_the_response_does_not_wait_for_it() -> None:
    before = open_files()
    rig = Rig(silent, limits=SMALL)
    client = upload(rig, pattern(2000))
    reader = Reader(rig)
    rig.reply(reader.reply_channel, OK)
    assert client.status() == 200
    assert open_files() == before
    assert rig.server._context.recipients == {}
    assert not client.gone


def test_a_reader_is_told_when_the_client_leaves() -> None:
    before = open_files()
    rig = Rig(silent, limits=SMALL)
    client = upload(rig, pattern(2000))
    reader = Reader(rig)
    client.leave()
    while reader.read():
        pass
    assert reader.closed
    assert not reader.more
    assert open_files() == before
    assert rig.server._context.recipients == {}


def test_a_client_that_leaves_in_the_middle_of_its_upload_leaves_nothing_behind() -> None:
    before = open_files()
    rig = Rig(limits=SMALL)
    client = rig.connect().send(
        b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + pattern(2000)
    )
    assert open_files() == before + 1
    client.leave()
    assert open_files() == before
    assert rig.worker.events == []


def test_a_body_refused_in_the_middle_leaves_nothing_behind() -> None:
    before = open_files()
    rig = Rig(limits=Limits(body_memory=1000, body_part=100, body_timeout=5))
    client = rig.connect().send(
        b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + pattern(2000)
    )
    rig.advance(10)
    assert client.status() == 408
    assert open_files() == before


def test_parts_that_expire_unread_end_the_feed() -> None:
    before = open_files()
    rig = Rig(silent, limits=SMALL, layer_options={"expiry": 5})
    upload(rig, pattern(2000))
    rig.advance(7)
    assert open_files() == before


def test_a_full_body_channel_is_waited_for_without_losing_the_order() -> None:
    rig = Rig(silent, limits=SMALL, layer_options={"channel_capacity": {"http.request.body?*": 2}})
    upload(rig, pattern(2000))
    reader = Reader(rig)
    assert reader.waiting() == 2
    for _ in range(100):
        rig.advance(0.5)
        reader.read()
    assert reader.body == pattern(2000)
    assert not reader.more


def test_over_a_layer_that_does_not_settle_the_capacity_holds_parts_back() -> None:
    from twisted.internet.task import Clock

    from chanserv.layers.memory import MemoryChannelLayer

    class Plain(MemoryChannelLayer):
        settles = False

    layer = Plain(clock=Clock(), channel_capacity={"http.request.body?*": 2})
    rig = Rig(silent, limits=SMALL, layer=layer)
    upload(rig, pattern(2000))
    reader = Reader(rig)
    rig.advance(5)
    assert reader.waiting() == 2
    for _ in range(100):
        rig.advance(0.5)
        reader.read()
    assert reader.body == pattern(2000)


def test_a_full_disk_is_answered_500(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Spool, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "write", full)
    rig = Rig(limits=SMALL)
    client = upload(rig, pattern(2000))
    assert client.status() == 500
    assert client.gone


def test_a_spool_keeps_little_in_memory_and_the_rest_in_a_file(tmp_path: Path) -> None:
    spool = Spool(10)
    spool.write(b"12345")
    assert spool.whole() == b"12345"
    spool.write(b"1234567890")
    assert spool.whole() is None
    assert spool.length == 15
    with spool.detach() as file:
        assert file.read() == b"123451234567890"


def test_a_closed_spool_leaves_no_file_open() -> None:
    spool = Spool(1)
    spool.write(b"12345")
    spool.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del spool
        gc.collect()
