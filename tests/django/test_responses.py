"""Responses of every kind, as messages."""

from __future__ import annotations

import hashlib

import pytest

from chanserv.django import AsgiHandler, Message, ViewConsumer
from chanserv.django.response import MAX_PART
from chanserv.django.streaming import STREAM_WINDOW
from chanserv.messages import Outcome
from tests.django.site_runner import MAILBOX, SiteRunner
from tests.site import views


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def test_a_plain_view_is_answered_with_one_message(site: SiteRunner) -> None:
    answer = site.get("/")
    assert answer.status == 200
    assert len(answer.messages) == 1
    assert answer.body == b"hello"
    assert answer.header(b"content-type") == b"text/html; charset=utf-8"
    assert answer.header(b"x-content-type-options") == b"nosniff"


def test_an_async_view_is_answered(site: SiteRunner) -> None:
    assert site.get("/async-view/").body == b"async"


def test_each_cookie_is_a_header_of_its_own(site: SiteRunner) -> None:
    answer = site.get("/cookies/")
    set_cookies = [value for name, value in answer.headers if name == b"set-cookie"]
    assert len(set_cookies) == 2
    assert set_cookies[0] == b"first=1; HttpOnly; Path=/"
    assert set_cookies[1].startswith(b'second="two words"; ')


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_without_a_body_has_none(site: SiteRunner, status: int) -> None:
    answer = site.get(f"/status/{status}/")
    assert (answer.status, answer.body) == (status, b"")
    assert answer.header(b"content-length") is None
    assert len(answer.messages) == 1


@pytest.mark.parametrize("status", [200, 201, 302, 403, 404, 500, 503])
def test_the_status_of_the_view_is_kept(site: SiteRunner, status: int) -> None:
    assert site.get(f"/status/{status}/").status == status


def test_a_redirect_says_where_to(site: SiteRunner) -> None:
    answer = site.get("/redirect/")
    assert (answer.status, answer.header(b"location")) == (302, b"/")


def test_head_tells_the_length_and_sends_no_body(site: SiteRunner) -> None:
    answer = site.request("HEAD", "/")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.header(b"content-length") == b"5"


def test_head_of_a_stream_does_not_run_the_stream(site: SiteRunner) -> None:
    answer = site.request("HEAD", "/ticks/")
    assert (answer.status, answer.body) == (200, b"")
    assert views.closed == ["ticks"]


@pytest.mark.parametrize("size", [MAX_PART - 1, MAX_PART])
def test_what_fits_one_message_goes_in_one(site: SiteRunner, size: int) -> None:
    answer = site.get(f"/big/{size}/")
    assert len(answer.messages) == 1
    assert answer.body == pattern(size)


@pytest.mark.parametrize("size", [MAX_PART + 1, 3 * MAX_PART, 10_000_000])
def test_a_large_response_goes_in_parts_that_every_layer_carries(
    site: SiteRunner, size: int
) -> None:
    answer = site.get(f"/big/{size}/")
    assert len(answer.messages) == -(-size // MAX_PART)
    assert all(len(message["content"]) <= MAX_PART for message in answer.messages)
    assert all(message["more_content"] for message in answer.messages[:-1])
    assert not answer.messages[-1]["more_content"]
    assert all("status" not in message for message in answer.messages[1:])
    assert answer.header(b"content-length") == str(size).encode()
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(pattern(size)).digest()
    assert views.closed == ["big"]


def test_a_stream_sends_each_part_as_it_is_made(site: SiteRunner) -> None:
    answer = site.get("/stream/20/3/")
    assert [message["content"] for message in answer.messages] == [
        *(bytes([65 + number]) * 3 for number in range(20)),
        b"",
    ]
    assert [message["more_content"] for message in answer.messages] == [True] * 20 + [False]
    assert views.closed == ["stream"]


def test_an_empty_stream_is_a_response_without_a_body(site: SiteRunner) -> None:
    answer = site.get("/stream/0/0/")
    assert (answer.status, answer.body) == (200, b"")
    assert len(answer.messages) == 1


def test_a_part_of_a_stream_over_the_limit_is_split(site: SiteRunner) -> None:
    answer = site.get(f"/stream/1/{2 * MAX_PART + 5}/")
    assert [len(message["content"]) for message in answer.messages] == [MAX_PART, MAX_PART, 5, 0]


def test_an_async_stream_sends_each_part_as_it_is_made(site: SiteRunner) -> None:
    answer = site.get("/stream-async/")
    assert [message["content"] for message in answer.messages] == [b"0 ", b"1 ", b"2 ", b""]


def test_a_stream_that_breaks_is_not_ended_as_if_it_were_whole(site: SiteRunner) -> None:
    answer = site.get("/stream-breaks/3/", raises=True)
    assert str(answer.failure) == "the stream broke"
    assert answer.body == b"part part part "
    assert answer.messages[-1]["more_content"]
    assert views.closed == ["stream-breaks"]


def test_a_stream_that_breaks_at_once_leaves_the_answer_to_the_worker(site: SiteRunner) -> None:
    answer = site.get("/stream-breaks/0/", raises=True)
    assert str(answer.failure) == "the stream broke"
    assert answer.messages == []


def test_a_small_file_goes_in_one_message_and_is_closed(site: SiteRunner) -> None:
    answer = site.get("/file/70000/")
    assert len(answer.messages) == 1
    assert answer.body == pattern(70_000)
    assert answer.header(b"content-length") == b"70000"
    assert answer.header(b"content-disposition") == b'attachment; filename="numbers.bin"'
    assert views.closed == ["file"]


def test_a_large_file_goes_in_parts_and_is_closed(site: SiteRunner) -> None:
    answer = site.get("/file/5000000/")
    assert 10 < len(answer.messages) < 60
    assert answer.body == pattern(5_000_000)
    assert answer.header(b"content-length") == b"5000000"
    assert views.closed == ["file"]


def test_a_stream_waits_while_its_client_takes_nothing(site: SiteRunner) -> None:
    def pending() -> int:
        return site.face.channel_statistics(MAILBOX)["messages_pending"]

    message = site.request_message("GET", "/stream/30/1/")
    thread, answer = site.start("http.request", message)
    while pending() < STREAM_WINDOW:
        thread.join(0.01)
    thread.join(0.2)
    assert thread.is_alive()
    assert pending() == STREAM_WINDOW
    parts = 0
    while thread.is_alive():
        parts += len(site.taken(message["reply_channel"]))
        thread.join(0.01)
    assert parts + len(site.taken(message["reply_channel"])) == 31
    assert answer.failure is None


@pytest.mark.parametrize(("path", "name"), [("/ticks/", "ticks"), ("/events-async/", "events")])
def test_a_stream_ends_when_its_client_is_gone(site: SiteRunner, path: str, name: str) -> None:
    thread, answer = site.start("http.request", site.request_message("GET", path))
    while thread.is_alive():
        receiving = site.layer.receive([MAILBOX], 1)
        if receiving.called:
            receiving.addCallback(lambda deliveries: deliveries[0].settle(Outcome.LOST))
        else:
            receiving.addErrback(lambda failure: None)
            receiving.cancel()
        thread.join(0.02)
    assert answer.failure is None
    assert views.closed == [name]


def test_an_exception_in_a_view_is_djangos_own_500(
    site: SiteRunner, caplog: pytest.LogCaptureFixture
) -> None:
    answer = site.get("/error/")
    assert answer.status == 500
    assert b"the view broke" in answer.body
    assert answer.failed
    assert "Internal Server Error: /error/" in caplog.text


def test_a_missing_page_is_djangos_own_404(site: SiteRunner) -> None:
    missing = site.get("/missing/")
    assert (missing.status, missing.failed) == (404, False)
    assert site.get("/nowhere/").status == 404


def test_a_view_may_leave_its_answer_to_later(site: SiteRunner) -> None:
    message = site.request_message("GET", "/later/")
    assert site.run("http.request", message).messages == []
    assert views.waiting == [message["reply_channel"]]


def test_a_consumer_encodes_a_response_as_channels_did(site: SiteRunner) -> None:
    from django.http import HttpResponse

    response = HttpResponse(b"x" * (MAX_PART + 1), status=201)
    messages = list(AsgiHandler.encode_response(response))
    assert [len(message["content"]) for message in messages] == [MAX_PART, 1]
    assert messages[0]["status"] == 201
    assert response.closed


def test_a_handler_can_be_iterated_over(site: SiteRunner) -> None:
    message = Message(
        site.request_message("GET", "/big/600000/"), "http.request", site.application.layer
    )
    messages = list(AsgiHandler()(message))
    assert [message["more_content"] for message in messages] == [True, False]
    assert views.closed == ["big"]


def test_a_handler_has_nothing_to_say_for_a_view_that_answers_later(site: SiteRunner) -> None:
    message = Message(
        site.request_message("GET", "/later/"), "http.request", site.application.layer
    )
    assert list(AsgiHandler()(message)) == []


def test_outside_of_a_worker_the_answer_goes_out_at_once(site: SiteRunner) -> None:
    content = site.request_message("GET", "/")
    ViewConsumer()(Message(content, "http.request", site.application.layer))
    (reply,) = site.taken(content["reply_channel"])
    assert reply["content"] == b"hello"


def test_a_head_of_what_has_no_length_is_told_one(site: SiteRunner) -> None:
    from django.http import HttpResponse

    from chanserv.django.response import whole_message

    message = whole_message(HttpResponse(b"12345"), "HEAD")
    assert message is not None
    assert [b"content-length", b"5"] in message["headers"]
    assert message["content"] == b""
