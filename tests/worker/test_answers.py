"""Tests for C{chanserv.worker.answers}."""

from __future__ import annotations

import pytest

from chanserv.messages import GroupSend, Send, seal
from chanserv.worker.answers import answer_to_dropped, answer_to_fault, denial

EVENT = seal({"reply_channel": "server!1", "path": "/"})
SILENT = [
    "http.disconnect",
    "websocket.disconnect",
    "http.request.body?a",
    "email.send",
]


def test_a_request_whose_consumer_failed_is_answered_500_with_a_text() -> None:
    answer = answer_to_fault("http.request", EVENT, [])
    assert answer is not None
    assert answer.channel == "server!1"
    assert answer.message["status"] == 500
    assert answer.message["headers"] == [[b"content-type", b"text/plain; charset=utf-8"]]
    assert answer.message["content"]
    assert not answer.message.get("more_content")


def test_a_request_that_was_answered_before_its_consumer_failed_is_not_answered_twice() -> None:
    assert answer_to_fault("http.request", EVENT, [Send("server!1", {"status": 200})]) is None


def test_what_was_sent_elsewhere_is_no_answer() -> None:
    sent = [Send("server!2", {"status": 200}), GroupSend("server", {}), Send("log", {})]
    assert answer_to_fault("http.request", EVENT, sent) is not None


@pytest.mark.parametrize("channel", ["websocket.connect", "websocket.receive"])
def test_a_socket_whose_consumer_failed_is_closed_with_1011(channel: str) -> None:
    assert answer_to_fault(channel, EVENT, []) == Send("server!1", {"close": 1011})


@pytest.mark.parametrize("close", [True, 1000, 4001])
def test_a_socket_that_its_consumer_closed_itself_is_not_closed_twice(close: object) -> None:
    sent = [Send("server!1", {"text": "bye"}), Send("server!1", {"close": close})]
    assert answer_to_fault("websocket.receive", EVENT, sent) is None


@pytest.mark.parametrize("message", [{"text": "hello"}, {"close": False}, {"close": None}])
def test_a_socket_that_was_only_written_to_is_closed(message: dict[str, object]) -> None:
    assert answer_to_fault("websocket.receive", EVENT, [Send("server!1", message)]) is not None


@pytest.mark.parametrize("channel", SILENT)
def test_nobody_waits_for_an_answer_to_other_events(channel: str) -> None:
    assert answer_to_fault(channel, EVENT, []) is None
    assert answer_to_dropped(channel, EVENT, []) is None


@pytest.mark.parametrize("reply", [{}, {"reply_channel": None}, {"reply_channel": "no channel"}])
def test_an_event_without_a_usable_reply_channel_gets_no_answer(reply: dict[str, object]) -> None:
    assert answer_to_fault("http.request", seal(reply), []) is None
    assert answer_to_dropped("http.request", seal(reply), []) is None
    assert denial(seal(reply)) is None


def test_a_request_that_was_put_off_too_often_is_answered_503_and_when_to_come_back() -> None:
    answer = answer_to_dropped("http.request", EVENT, [])
    assert answer is not None
    assert answer.message["status"] == 503
    assert [b"retry-after", b"5"] in answer.message["headers"]


def test_a_handshake_that_was_put_off_too_often_is_closed_with_1013() -> None:
    assert answer_to_dropped("websocket.connect", EVENT, []) == Send("server!1", {"close": 1013})


def test_a_socket_stays_open_when_one_of_its_messages_is_dropped() -> None:
    assert answer_to_dropped("websocket.receive", EVENT, []) is None


def test_a_denial_closes_the_handshake() -> None:
    assert denial(EVENT) == Send("server!1", {"close": True})
