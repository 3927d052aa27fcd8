"""Channels, groups, messages, and the consumers of the site."""

from __future__ import annotations

import asyncio
import pickle
import threading
from contextvars import copy_context
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.test import override_settings
from django.urls import get_script_prefix
from django.utils import timezone, translation

from chanserv.django import (
    Channel,
    ConsumeLater,
    DenyConnection,
    Group,
    Message,
    allowed_hosts_only,
    channel_layers,
    channel_session,
    channel_session_user_from_http,
    enforce_ordering,
    http_session,
    http_session_user,
    route,
)
from chanserv.django.generic.base import BaseConsumer
from chanserv.django.generic.websockets import WebsocketConsumer
from chanserv.errors import ChannelFull, InvalidChannelName, InvalidMessage
from chanserv.layers.blocking import face_of
from chanserv.layers.memory import MemoryChannelLayer
from tests.django.site_runner import SiteRunner, Socket
from tests.site import consumers


def test_outside_of_a_consumer_sends_go_out_at_once(site: SiteRunner) -> None:
    Channel("noted").send({"a": 1})
    assert site.taken("noted") == [{"a": 1}]
    Group("all").add("noted")
    Group("all").send({"a": 2})
    assert site.taken("noted") == [{"a": 2}]
    Group("all").discard(Channel("noted"))
    Group("all").send({"a": 3})
    assert site.taken("noted") == []


def test_within_a_consumer_sends_wait_for_its_end(site: SiteRunner) -> None:
    from chanserv.worker.outbox import Outbox

    channel_layers.attach("second", face_of(MemoryChannelLayer(), None))
    outbox = Outbox()
    site.application.run("send-everywhere", {}, outbox)
    assert site.taken("noted") == [{"number": 3}]
    assert [operation.message for operation in outbox.operations] == [{"number": 1}, {"number": 4}]
    assert channel_layers["second"].receive(["noted"]) == ("noted", {"number": 2})


def test_what_an_async_consumer_sends_waits_for_its_end_in_order(site: SiteRunner) -> None:
    from chanserv.worker.outbox import Outbox

    async def speak(message: Message) -> None:
        for number, sensitive in ((1, True), (3, False)):
            Channel("noted").send({"number": number})
            await sync_to_async(later, thread_sensitive=sensitive)(number + 1)

    def later(number: int) -> None:
        Channel("noted").send({"number": number})

    layers = {"default": {"ROUTING": [route("speak", speak)]}}
    with override_settings(CHANNEL_LAYERS=layers), SiteRunner() as runner:
        outbox = Outbox()
        runner.application.run("speak", {}, outbox)
        assert runner.taken("noted") == []
    assert [one.message["number"] for one in outbox.operations] == [1, 2, 3, 4]  # type: ignore[union-attr]


def test_a_decorator_waits_for_an_async_consumer(site: SiteRunner) -> None:
    @channel_session
    async def count(message: Message) -> None:
        await asyncio.sleep(0)
        message.channel_session["count"] = message.channel_session.get("count", 0) + 1
        Channel("noted").send({"count": message.channel_session["count"]})

    layers = {"default": {"ROUTING": [route("count", count)]}}
    with override_settings(CHANNEL_LAYERS=layers), SiteRunner() as runner:
        for _ in range(2):
            runner.run("count", {"reply_channel": "async!1"})
        assert runner.taken("noted") == [{"count": 1}, {"count": 2}]


@pytest.mark.parametrize("with_session", [False, True])
def test_the_methods_of_a_class_may_be_async(site: SiteRunner, with_session: bool) -> None:
    class Speaker(WebsocketConsumer):
        channel_session = with_session

        async def connect(self, message: Message, **kwargs: Any) -> None:  # type: ignore[override]
            await asyncio.sleep(0)
            self.reply_channel.send({"accept": True})

        async def receive(self, text: Any = None, bytes: Any = None, **kwargs: Any) -> None:  # type: ignore[override]
            await asyncio.sleep(0)
            self.send(text=text)

        async def disconnect(self, message: Message, **kwargs: Any) -> None:  # type: ignore[override]
            await asyncio.sleep(0)
            Channel("noted").send({"left": True})

    class Plain(BaseConsumer):
        method_mapping = {"plain": "note"}

        async def note(self, message: Message) -> None:
            Channel("noted").send({"plain": True})

    routes = [Speaker.as_route(), Plain.as_route()]
    layers = {"default": {"ROUTING": routes}}
    with override_settings(CHANNEL_LAYERS=layers), SiteRunner() as runner:
        socket = Socket(runner, "/")
        assert socket.connect() == [{"accept": True}]
        assert socket.send("hello") == [{"text": "hello"}]
        socket.disconnect()
        runner.run("plain", {})
        assert runner.taken("noted") == [{"left": True}, {"plain": True}]


def test_a_consumer_whose_coroutine_nobody_awaits_is_a_fault(site: SiteRunner) -> None:
    async def hidden(message: Message) -> None:
        pass

    def plain(message: Message) -> object:
        return hidden(message)

    layers = {"default": {"ROUTING": [route("plain", plain)]}}
    with override_settings(CHANNEL_LAYERS=layers), SiteRunner() as runner:
        answer = runner.run("plain", {}, raises=True)
    assert "plain gave a coroutine, which nobody awaits" in str(answer.failure)


def test_what_a_consumer_leaves_running_sends_at_once_when_it_has_ended(site: SiteRunner) -> None:
    from chanserv.worker.outbox import Outbox

    ended = threading.Event()
    left: list[threading.Thread] = []

    def late() -> None:
        ended.wait(30)
        Channel("noted").send({"late": True})

    def leave(message: Message) -> None:
        left.append(threading.Thread(target=copy_context().run, args=(late,)))
        left[0].start()

    layers = {"default": {"ROUTING": [route("leave", leave)]}}
    with override_settings(CHANNEL_LAYERS=layers), SiteRunner() as runner:
        outbox = Outbox()
        runner.application.run("leave", {}, outbox)
        ended.set()
        left[0].join()
        assert runner.taken("noted") == [{"late": True}]
    assert outbox.operations == []


def test_a_consumer_sees_nothing_of_what_ran_in_its_thread_before(site: SiteRunner) -> None:
    from chanserv.worker.outbox import Outbox

    seen: list[tuple[str | None, str, str]] = []

    def look(message: Message) -> None:
        current = timezone.get_current_timezone_name()
        seen.append((translation.get_language(), current, get_script_prefix()))

    def stray(message: Message) -> None:
        translation.activate("de")
        timezone.activate("Asia/Tokyo")

    layers = {"default": {"ROUTING": [route("look", look), route("stray", stray)]}}
    mounted = site.request_message("GET", "/", root_path="/shop")
    with override_settings(CHANNEL_LAYERS=layers), SiteRunner() as runner:
        application = runner.application
        application.run("look", {}, Outbox())
        application.run("stray", {}, Outbox())
        seen.append((translation.get_language(), timezone.get_current_timezone_name(), "/"))
        application.run("http.request", mounted, Outbox())
        translation.activate("de")
        timezone.activate("Asia/Tokyo")
        application.run("look", {"root_path": "/shop"}, Outbox())
        application.run("look", {}, Outbox())
    bare = ("en-us", "America/Chicago", "/")
    assert seen == [bare, bare, (*bare[:2], "/shop/"), bare]


def test_what_was_sent_before_a_failure_is_sent(site: SiteRunner) -> None:
    answer = site.run("fail", {}, raises=True)
    assert str(answer.failure) == "the consumer broke"
    assert site.taken("noted") == [{"before": "failure"}]


def test_a_consumer_can_ask_for_its_message_again(site: SiteRunner) -> None:
    with pytest.raises(ConsumeLater):
        site.run("again", {})


def test_bad_names_and_messages_raise_where_they_are_given(site: SiteRunner) -> None:
    with pytest.raises(InvalidChannelName):
        Channel("no name")
    with pytest.raises(InvalidChannelName):
        Group("no!name")
    with pytest.raises(InvalidMessage, match="when"):
        Channel("noted").send({"when": object()})
    with pytest.raises(InvalidMessage):
        Channel("noted").send("text")  # type: ignore[arg-type]


def test_a_full_channel_is_told_where_a_send_is_immediate(site: SiteRunner) -> None:
    for _ in range(100):
        Channel("noted").send({})
    with pytest.raises(ChannelFull):
        Channel("noted").send({})


def test_channels_and_groups_are_values(site: SiteRunner) -> None:
    assert Channel("a") == Channel(b"a")
    assert Channel("a") != Channel("a", alias="second")
    assert len({Group("g"), Group("g"), Group("h")}) == 2
    assert (str(Channel("a")), str(Group("g"))) == ("a", "g")
    assert repr(Channel("a")) == "<Channel 'a' on 'default'>"
    assert repr(Group("g")) == "<Group 'g' on 'default'>"
    assert Channel("a") != "a"
    assert Group("a") != "a"


def test_a_group_lists_its_members(site: SiteRunner) -> None:
    Group("all").add(Channel("one"))
    Group("all").add("two")
    assert sorted(Group("all").channels()) == ["one", "two"]


def test_a_message_reads_like_a_dict(site: SiteRunner) -> None:
    layer = channel_layers["default"]
    message = Message({"text": "hi", "reply_channel": "x!1"}, "websocket.receive", layer)
    assert message["text"] == "hi"
    assert message.get("bytes") is None
    assert "text" in message
    assert sorted(message.keys()) == ["reply_channel", "text"]
    assert dict(message.items()) == message.content
    assert "hi" in message.values()
    assert message.channel.name == "websocket.receive"
    assert message.reply_channel == Channel("x!1")
    assert message.channel_layer is layer
    copy = message.copy()
    copy["text"] = "other"
    assert message["text"] == "hi"
    assert Message({}, "note", layer).reply_channel is None
    assert repr(message) == "<Message on 'websocket.receive': ['reply_channel', 'text']>"


def test_a_socket_echoes_text_and_bytes(site: SiteRunner) -> None:
    socket = Socket(site, "/echo/")
    assert socket.connect() == [{"accept": True}]
    assert socket.send("hello") == [{"text": "hello"}]
    assert socket.send(b"\x00\xff") == [{"bytes": b"\x00\xff"}]
    assert socket.disconnect() == []


def test_a_consumer_denies_a_connection(site: SiteRunner) -> None:
    with pytest.raises(DenyConnection):
        Socket(site, "/denied/").connect()


def test_a_room_reaches_its_members_and_no_others(site: SiteRunner) -> None:
    ada, bob, eve = (
        Socket(site, path) for path in ("/rooms/tea/", "/rooms/tea/", "/rooms/coffee/")
    )
    for socket in (ada, bob, eve):
        assert socket.connect() == [{"accept": True}]
    thread, answer = site.start(
        "websocket.receive", {"reply_channel": ada.name, "path": "/rooms/tea/", "text": "x"}
    )
    thread.join()
    assert answer.failure is None
    received = [site.face.receive(["chanserv.response.tests!"]) for _ in range(3)]
    assert sorted(received[:2]) == [  # type: ignore[type-var]
        (ada.name, {"text": "tea: x"}),
        (bob.name, {"text": "tea: x"}),
    ]
    assert received[2] == (None, None)
    ada.disconnect()
    assert Group("room-tea").channels() == [bob.name]


def test_a_channel_session_lasts_as_long_as_its_connection(site: SiteRunner) -> None:
    before = Session.objects.count()
    one, two = Socket(site, "/count/"), Socket(site, "/count/")
    one.connect()
    two.connect()
    assert Session.objects.count() == before + 2
    assert [one.send("x"), one.send("x"), two.send("x")] == [
        [{"text": "1"}],
        [{"text": "2"}],
        [{"text": "1"}],
    ]
    one.disconnect()
    two.disconnect()
    assert consumers.seen == [("count.left", {"count": 2}), ("count.left", {"count": 1})]
    assert Session.objects.count() == before


def test_the_user_of_the_browser_is_that_of_its_socket(site: SiteRunner) -> None:
    site.get("/log-in/grace/")
    socket = Socket(site, "/user/")
    assert socket.connect() == [{"accept": True, "text": "grace"}]
    site.cookies.clear()
    assert socket.send("who am I?") == [{"text": "grace"}]


def test_nobody_is_nobody_on_a_socket_too(site: SiteRunner) -> None:
    socket = Socket(site, "/user/")
    assert socket.connect() == [{"accept": True, "text": "nobody"}]
    assert socket.send("who am I?") == [{"text": "nobody"}]


def run_with(site: SiteRunner, consumer: Any, **content: Any) -> Message:
    content.setdefault("reply_channel", site.reply_channel())
    message = Message(content, content.pop("channel", "websocket.connect"), site.application.layer)
    consumer(message)
    return message


def noop(message: Message) -> None:
    pass


def cookie(site: SiteRunner) -> list[list[bytes]]:
    return [[b"cookie", f"sessionid={site.cookies['sessionid']}".encode()]]


def test_an_http_session_is_that_of_the_cookie(site: SiteRunner) -> None:
    site.get("/count-visits/")

    def set_key(message: Message) -> None:
        message.http_session["added"] = "by a consumer"

    message = run_with(site, http_session(set_key), headers=cookie(site))
    assert message.http_session["visits"] == 1
    again = run_with(site, http_session(noop), headers=cookie(site))
    assert again.http_session["added"] == "by a consumer"


def test_without_a_cookie_there_is_no_http_session(site: SiteRunner) -> None:
    message = run_with(site, http_session_user(noop), headers=[])
    assert message.http_session is None
    assert message.user.is_anonymous


def test_both_sessions_are_there_for_all_of_a_connection(site: SiteRunner) -> None:
    from chanserv.django import channel_and_http_session_user_from_http as both

    site.get("/log-in/lin/")
    first = run_with(site, both(noop), headers=cookie(site), reply_channel="x!1")
    assert first.user.username == "lin"
    later = run_with(site, both(noop), reply_channel="x!1", channel="websocket.receive")
    assert later.http_session.session_key == site.cookies["sessionid"]
    assert later.user.username == "lin"


def test_decorators_work_on_methods(site: SiteRunner) -> None:
    class Consumers:
        @channel_session
        def connect(self, message: Message) -> None:
            message.channel_session["a"] = 1

    message = run_with(site, Consumers().connect)
    assert message.channel_session["a"] == 1


def test_a_decorator_says_what_it_lacks(site: SiteRunner) -> None:
    with pytest.raises(ValueError, match="has none: use it on"):
        run_with(site, http_session(noop), channel="websocket.receive")
    with pytest.raises(ValueError, match="channel_session needs a reply channel"):
        run_with(site, channel_session(noop), reply_channel=None)
    with pytest.raises(TypeError, match="must be called with a message"):
        channel_session(noop)("no message")


def test_sessions_in_cookies_cannot_hold_those_of_channels(site: SiteRunner) -> None:
    from django.core.exceptions import ImproperlyConfigured

    with (
        override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies"),
        pytest.raises(ImproperlyConfigured, match="cannot hold the sessions of channels"),
    ):
        run_with(site, channel_session(noop))


@pytest.mark.parametrize(
    "engine", ["cache", "cached_db", "file", "db"], ids=lambda engine: str(engine)
)
def test_every_engine_that_stores_sessions_serves(
    site: SiteRunner, engine: str, tmp_path: Any
) -> None:
    with override_settings(
        SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}",
        SESSION_FILE_PATH=str(tmp_path),
    ):
        socket = Socket(site, "/count/")
        socket.connect()
        assert [socket.send("x"), socket.send("x")] == [[{"text": "1"}], [{"text": "2"}]]
        socket.disconnect()
    assert consumers.seen == [("count.left", {"count": 2})]


def test_a_flushed_session_leaves_the_connection_with_an_empty_one(site: SiteRunner) -> None:
    def flush(message: Message) -> None:
        message.channel_session.flush()

    def fill(message: Message) -> None:
        message.channel_session["a"] = 1

    run_with(site, channel_session(fill), reply_channel="x!1")
    run_with(site, channel_session(flush), reply_channel="x!1", channel="websocket.receive")
    message = run_with(site, channel_session(noop), reply_channel="x!1")
    assert "a" not in message.channel_session


@pytest.mark.parametrize(
    ("origin", "allowed", "debug", "passes"),
    [
        (None, ["example.org"], False, True),
        (b"https://example.org", ["example.org"], False, True),
        (b"https://www.example.org:8443", [".example.org"], False, True),
        (b"https://[2001:db8::1]:8000", ["[2001:db8::1]"], False, True),
        (b"https://example.org.evil.test", [".example.org"], False, False),
        (b"https://evil.test", ["example.org"], False, False),
        (b"null", ["example.org"], False, False),
        (b"null", ["*"], False, True),
        (b"http://[half", ["example.org"], False, False),
        (b"https://ex\xff.org", ["example.org"], False, False),
        (b"http://localhost:8000", [], True, True),
        (b"http://evil.test", [], True, False),
        (b"http://localhost:8000", [], False, False),
    ],
)
def test_pages_of_other_hosts_may_be_kept_out(
    site: SiteRunner, origin: bytes | None, allowed: list[str], debug: bool, passes: bool
) -> None:
    headers = [[b"host", b"example.org"]] + ([[b"origin", origin]] if origin else [])
    called = []
    guarded = allowed_hosts_only(called.append)
    with override_settings(ALLOWED_HOSTS=allowed, DEBUG=debug):
        if passes:
            run_with(site, guarded, headers=headers)
        else:
            with pytest.raises(DenyConnection):
                run_with(site, guarded, headers=headers)
    assert bool(called) is passes


def test_two_origins_are_no_origin(site: SiteRunner) -> None:
    headers = [[b"origin", b"https://example.org"], [b"origin", b"https://evil.test"]]
    with pytest.raises(DenyConnection):
        run_with(site, allowed_hosts_only(noop), headers=headers)


def test_enforce_ordering_leaves_consumers_as_they_are() -> None:
    assert enforce_ordering(noop) is noop
    assert enforce_ordering(slight=True)(noop) is noop


def test_a_class_serves_a_socket(site: SiteRunner) -> None:
    site.get("/log-in/class-user/")
    socket = Socket(site, "/class/tea/")
    other = Socket(site, "/class/tea/")
    assert socket.connect() == [{"accept": True}]
    assert other.connect() == [{"accept": True}]
    assert socket.send("hi") == [{"text": "hi"}]
    assert socket.send(b"hi") == [{"bytes": b"hi"}]
    assert socket.send("who") == [{"text": "class-user"}]
    assert socket.send("close") == [{"close": 4001}]
    assert sorted(Group("class-tea").channels()) == sorted([socket.name, other.name])
    socket.disconnect()
    assert Group("class-tea").channels() == [other.name]


def test_a_class_speaks_json(site: SiteRunner) -> None:
    socket = Socket(site, "/json/")
    socket.connect()
    assert socket.send('{"a": 1}') == [{"text": '[{"a": 1}]'}]


@pytest.mark.parametrize(
    ("sent", "code"), [(b"{}", 1003), ("no JSON", 1007), ("[" * 100_000, 1007)]
)
def test_a_client_that_speaks_no_json_to_one_that_does_is_closed(
    site: SiteRunner, sent: str | bytes, code: int
) -> None:
    socket = Socket(site, "/json/")
    socket.connect()
    assert socket.send(sent) == [{"close": code}]


def test_a_class_sends_json_to_its_group(site: SiteRunner) -> None:
    Group("json").add("noted")
    consumers.JsonEcho.group_send("json", {"a": 1}, close=True)
    assert site.taken("noted") == [{"text": '{"a": 1}', "close": True}]


def test_a_class_takes_attributes_for_one_route(site: SiteRunner) -> None:
    entry = consumers.JsonEcho.as_route({"groups": ["extra"]}, path="^/x")
    assert entry.consumer.groups == ["extra"]
    assert entry.consumer.__name__ == "JsonEcho"
    assert consumers.JsonEcho.groups is None


def test_a_class_refuses_to_send_nothing(site: SiteRunner) -> None:
    with pytest.raises(ValueError, match="give text or bytes to send"):
        consumers.ClassEcho.group_send("some")


def test_the_user_decorator_keeps_the_name_of_its_consumer() -> None:
    decorated = channel_session_user_from_http(consumers.note)
    assert decorated.__name__ == "note"
    assert pickle.loads(pickle.dumps(consumers.user_connect)) is consumers.user_connect


def test_a_class_asks_for_its_sessions(site: SiteRunner) -> None:
    told = []

    class WithSession(BaseConsumer):
        method_mapping = {"websocket.connect": "on_connect"}
        channel_session = True

        def on_connect(self, message: Message) -> None:
            told.append(message.channel_session.get("a"))
            message.channel_session["a"] = 1

    class WithUser(WithSession):
        channel_session_user = True

        def on_connect(self, message: Message) -> None:
            told.append(message.user.is_anonymous)

    run_with(site, WithSession, reply_channel="x!sessions")
    run_with(site, WithSession, reply_channel="x!sessions")
    run_with(site, WithUser, reply_channel="x!sessions")
    assert told == [None, 1, True]


def test_a_class_gives_both_sessions(site: SiteRunner) -> None:
    site.get("/log-in/joan/")
    told = []

    class Both(WebsocketConsumer):
        http_user_and_session = True

        def connect(self, message: Message, **kwargs: Any) -> None:
            told.append(message.user.username)

        def receive(self, text: str | None = None, **kwargs: Any) -> None:
            told.append(self.message.http_session.session_key)

    layer = site.application.layer
    Both(
        Message(
            {"reply_channel": "x!b", "path": "/", "headers": cookie(site)},
            "websocket.connect",
            layer,
        )
    )
    Both(Message({"reply_channel": "x!b", "path": "/", "text": ""}, "websocket.receive", layer))
    assert told == ["joan", site.cookies["sessionid"]]


def test_decorators_may_stand_twice(site: SiteRunner) -> None:
    twice = channel_session(channel_session(http_session(http_session(noop))))
    message = run_with(site, twice, headers=[])
    assert message.http_session is None


def test_a_session_that_another_began_meanwhile_is_taken_over(site: SiteRunner) -> None:
    def fill(message: Message) -> None:
        message.channel_session["mine"] = True

    def race(message: Message) -> None:
        run_with(site, channel_session(fill), reply_channel="x!race")
        message.channel_session["winner"] = True

    run_with(site, channel_session(race), reply_channel="x!race")
    message = run_with(site, channel_session(noop), reply_channel="x!race")
    assert message.channel_session["winner"]


def test_a_user_who_logs_out_is_gone_from_a_transfer(site: SiteRunner) -> None:
    site.get("/log-in/ida/")
    run_with(site, channel_session_user_from_http(noop), headers=cookie(site), reply_channel="x!t")
    site.cookies.clear()
    site.get("/count-visits/")
    message = run_with(
        site, channel_session_user_from_http(noop), headers=cookie(site), reply_channel="x!t"
    )
    assert "_auth_user_id" not in message.channel_session


def test_runs_may_nest(site: SiteRunner) -> None:
    from chanserv.django import gathering
    from chanserv.worker.outbox import Outbox

    outer, inner = Outbox(), Outbox()
    layer = channel_layers["default"]
    first = gathering.begin(layer, outer)
    second = gathering.begin(layer, inner)
    Channel("noted").send({"to": "inner"})
    gathering.end(second)
    Channel("noted").send({"to": "outer"})
    gathering.end(first)
    Channel("noted").send({"to": "all"})
    assert [operation.message for operation in inner.operations] == [{"to": "inner"}]
    assert [operation.message for operation in outer.operations] == [{"to": "outer"}]
    assert site.taken("noted") == [{"to": "all"}]


def test_a_send_over_another_layer_that_fails_is_raised(site: SiteRunner) -> None:
    full = face_of(MemoryChannelLayer(capacity=1), None)
    full.send("noted", {})
    channel_layers.attach("second", full)
    answer = site.run("send-everywhere", {}, raises=True)
    assert isinstance(answer.failure, ChannelFull)
