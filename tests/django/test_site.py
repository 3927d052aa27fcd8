"""Sessions, users, forms and static files, as under any Django server."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.db import connections
from django.test import override_settings

from chanserv.django import (
    DjangoApplication,
    consumer_finished,
    consumer_started,
    route,
    worker_ready,
)
from chanserv.django.exceptions import NoConsumer
from tests.django.site_runner import SiteRunner
from tests.site import consumers


def test_a_session_lasts_over_requests(site: SiteRunner) -> None:
    assert [site.get("/count-visits/").text for _ in range(3)] == ["1", "2", "3"]


def test_a_user_logs_in(site: SiteRunner) -> None:
    assert site.get("/who-am-i/").text == "nobody"
    site.get("/log-in/ada/")
    assert site.get("/who-am-i/").text == "ada"


def test_messages_are_shown_once(site: SiteRunner) -> None:
    assert site.get("/message/").text == "[]"
    assert site.get("/message/").text == '["you were here"]'


def test_a_form_without_its_token_is_refused(site: SiteRunner) -> None:
    form = b"application/x-www-form-urlencoded"
    page = site.get("/guarded-form/").text
    token = re.search(r'value="(\w+)"', page)
    assert token is not None
    assert site.post("/guarded-form/", b"word=hi", form).status == 403
    body = f"word=hi&csrfmiddlewaretoken={token[1]}".encode()
    assert site.post("/guarded-form/", body, form).text == "taken: hi"


def test_templates_are_rendered(site: SiteRunner) -> None:
    assert site.get("/page/").text.strip() == "<h1>page</h1>"


def test_static_files_are_served_while_developing(site: SiteRunner) -> None:
    with override_settings(DEBUG=True):
        site.application = DjangoApplication()
    answer = site.get("/static/site/site.css")
    assert answer.status == 200
    assert answer.header(b"content-type") == b"text/css"
    assert b"color: #123" in answer.body
    assert site.get("/static/site/none.css").status == 404
    assert site.get("/static/../settings.py").status == 400
    assert site.get("/").body == b"hello"
    mounted = site.get("/mounted/static/site/site.css", root_path="/mounted")
    assert mounted.status == 200


@pytest.mark.parametrize(("debug", "asked"), [(False, None), (True, False)])
def test_static_files_are_left_to_others_otherwise(
    site: SiteRunner, debug: bool, asked: bool | None
) -> None:
    with override_settings(DEBUG=debug):
        site.application = DjangoApplication(static_files=asked)
    assert site.get("/static/site/site.css").status == 404


def test_static_files_can_be_asked_for_without_debug(site: SiteRunner) -> None:
    with override_settings(DEBUG=False):
        site.application = DjangoApplication(static_files=True)
    assert site.get("/static/site/site.css").status == 200


def test_signals_frame_each_run_in_its_thread(site: SiteRunner) -> None:
    import threading

    told: list[tuple[str, str]] = []

    def started(**kwargs: object) -> None:
        told.append(("started", threading.current_thread().name))

    def finished(**kwargs: object) -> None:
        told.append(("finished", threading.current_thread().name))

    consumer_started.connect(started)
    consumer_finished.connect(finished)
    try:
        site.get("/")
        site.run("http.disconnect", {"reply_channel": "x!1", "path": "/"})
        site.run("fail", {}, raises=True)
    finally:
        consumer_started.disconnect(started)
        consumer_finished.disconnect(finished)
    assert told == [
        ("started", "run of http.request"),
        ("finished", "run of http.request"),
        ("started", "run of fail"),
        ("finished", "run of fail"),
    ]


def test_connections_past_their_age_are_closed_after_a_consumer(site: SiteRunner) -> None:
    closed: list[bool] = []

    def use_database(message: object) -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("select 1")

    def look(**kwargs: object) -> None:
        closed.append(connections["default"].connection is None)

    from chanserv.django import route
    from chanserv.worker.outbox import Outbox

    with override_settings(CHANNEL_LAYERS={"default": {"ROUTING": [route("use", use_database)]}}):
        application = DjangoApplication()
        try:
            application.run("use", {}, Outbox())
            look()
        finally:
            connections.close_all()
    assert closed == [True]


def test_an_application_says_when_it_is_ready(site: SiteRunner) -> None:
    layers: list[object] = []

    def ready(layer: object, **kwargs: object) -> None:
        layers.append(layer)

    worker_ready.connect(ready)
    try:
        application = DjangoApplication()
    finally:
        worker_ready.disconnect(ready)
    assert layers == [application.layer]


def test_the_outbox_learns_which_consumer_ran(site: SiteRunner) -> None:
    assert site.run("note", {}).consumer == "tests.site.consumers.note"
    assert site.run("fail", {}, raises=True).consumer == "tests.site.consumers.fail"
    site.application = DjangoApplication(static_files=False)
    assert site.get("/").consumer == "chanserv.django.handler.ViewConsumer"


def test_a_channel_without_a_consumer_is_a_clear_error(site: SiteRunner) -> None:
    with pytest.raises(NoConsumer, match="no consumer for channel 'nobody': the routing of"):
        site.run("nobody", {})


def test_an_application_lists_the_channels_it_takes(site: SiteRunner) -> None:
    assert site.application.channel_names() == {
        "again",
        "fail",
        "http.disconnect",
        "http.request",
        "log",
        "log-async",
        "note",
        "note-async",
        "send-everywhere",
        "websocket.connect",
        "websocket.disconnect",
        "websocket.receive",
    }


def test_an_application_ignores_the_channels_that_only_the_default_consumers_take() -> None:
    own = [route("http.disconnect", "tests.site.consumers.note")]
    only_for_some = [route("websocket.receive", "tests.site.consumers.note", path="^/chat/$")]
    for routing, ignored in (
        ([], {"http.disconnect", "websocket.receive", "websocket.disconnect"}),
        (own, {"websocket.receive", "websocket.disconnect"}),
        (only_for_some, {"http.disconnect", "websocket.disconnect"}),
    ):
        layers = {"default": {"ROUTING": routing}}
        with override_settings(CHANNEL_LAYERS=layers), SiteRunner() as runner:
            assert runner.application.ignored_channels() == ignored


def test_a_site_without_channel_layers_just_runs(site: SiteRunner) -> None:
    with override_settings():
        del settings.CHANNEL_LAYERS
        with SiteRunner() as plain:
            assert plain.get("/").body == b"hello"
            message = {"reply_channel": plain.reply_channel(), "path": "/"}
            assert plain.run("websocket.connect", message).messages == [{"accept": True}]
            assert plain.run("websocket.receive", {**message, "text": "x"}).messages == []
            assert plain.run("websocket.disconnect", message).messages == []
            assert plain.run("http.disconnect", message).messages == []


def test_an_application_provides_the_contract_of_workers(site: SiteRunner) -> None:
    from zope.interface.verify import verifyObject

    from chanserv.interfaces import IApplication

    assert verifyObject(IApplication, site.application)


def test_many_threads_are_served_at_once(site: SiteRunner) -> None:
    running = [
        (message, *site.start("http.request", message))
        for message in (site.request_message("GET", f"/stream/3/{n}/") for n in range(1, 9))
    ]
    for _, thread, answer in running:
        thread.join()
        assert answer.failure is None
    replies: dict[str, bytes] = {}
    while True:
        channel, part = site.face.receive(["chanserv.response.tests!"])
        if channel is None or part is None:
            break
        replies[channel] = replies.get(channel, b"") + bytes(part["content"])  # type: ignore[call-overload]
    for size, (message, _, _) in enumerate(running, 1):
        assert replies[message["reply_channel"]] == b"A" * size + b"B" * size + b"C" * size


def test_an_async_consumer_is_run(site: SiteRunner) -> None:
    site.run("note-async", {"a": 1})
    assert consumers.seen == [("async", {"a": 1})]
