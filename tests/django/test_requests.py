"""Messages on http.request as Django requests."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import Any

import pytest
from django.http.request import RawPostDataException, UnreadablePostError
from django.test import override_settings

from chanserv.django import AsgiRequest, Message, channel_layers
from chanserv.django.body import fetch_body
from tests.django.site_runner import Answer, SiteRunner

BODY_CHANNEL = "http.request.body?tests"
FORM = b"application/x-www-form-urlencoded"


def about(site: SiteRunner, *args: Any, **more: Any) -> dict[str, Any]:
    answer = site.get(*args, **more)
    assert answer.status == 200, answer.text
    told: dict[str, Any] = json.loads(answer.body)
    return told


def multipart(**files: bytes) -> tuple[bytes, bytes]:
    """A multipart body, and its content type."""
    parts = [b'--edge\r\nContent-Disposition: form-data; name="word"\r\n\r\ncaf\xc3\xa9\r\n']
    for name, content in files.items():
        parts.append(
            b'--edge\r\nContent-Disposition: form-data; name="%b"; filename="%b.bin"\r\n'
            b"Content-Type: application/x-test\r\n\r\n%b\r\n"
            % (name.encode(), name.encode(), content)
        )
    return b"".join(parts) + b"--edge--\r\n", b"multipart/form-data; boundary=edge"


def send_in_parts(site: SiteRunner, parts: list[dict[str, Any]]) -> None:
    for part in parts:
        site.face.send(BODY_CHANNEL, part)


def post_in_parts(site: SiteRunner, path: str, body: bytes, content_type: bytes) -> Answer:
    """Post a body of which only the start comes with the request."""
    size = 64 * 1024
    rest = [body[start : start + size] for start in range(size, len(body), size)]
    parts = [{"content": part, "more_content": True} for part in rest]
    parts[-1]["more_content"] = False
    send_in_parts(site, parts)
    length = (b"content-length", str(len(body)).encode())
    return site.post(path, body[:size], content_type, headers=[length], body_channel=BODY_CHANNEL)


def test_meta_holds_what_wsgi_code_looks_for(site: SiteRunner) -> None:
    told = about(site, "/about-request/?a=1&b=%C3%A9&a=2", [(b"x-thing", b"caf\xe9")])
    meta = told["META"]
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/about-request/",
        "QUERY_STRING": "a=1&b=%C3%A9&a=2",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_HOST": "192.0.2.7",
        "REMOTE_PORT": "40000",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "HTTP_HOST": "testserver",
        "HTTP_X_THING": "caf\xe9",
        "wsgi.url_scheme": "http",
    }
    assert {key: meta.get(key) for key in expected} == expected
    assert told["GET"] == {"a": ["1", "2"], "b": ["é"]}
    assert told["uri"] == "http://testserver/about-request/?a=1&b=%C3%A9&a=2"
    assert told["headers"]["X-Thing"] == "caf\xe9"
    assert not told["secure"]


def test_headers_that_come_twice_are_joined(site: SiteRunner) -> None:
    told = about(
        site,
        "/about-request/",
        [
            (b"x-list", b"one"),
            (b"cookie", b"a=1"),
            (b"x-list", b"two"),
            (b"cookie", b"b=%20; c=caf\xc3\xa9"),
        ],
    )
    assert told["META"]["HTTP_X_LIST"] == "one,two"
    assert told["COOKIES"] == {"a": "1", "b": "%20", "c": "café"}


def test_a_header_with_an_underscore_cannot_pass_for_another(site: SiteRunner) -> None:
    told = about(site, "/about-request/", [(b"x_real_ip", b"10.0.0.1")])
    assert "HTTP_X_REAL_IP" not in told["META"]


def test_the_names_of_headers_are_kept_only_so_many(site: SiteRunner) -> None:
    from chanserv.django import request

    for number in range(request.MAX_KNOWN_NAMES + 10):
        name = b"x-made-up-%d" % number
        assert request.meta_name(name) == f"HTTP_X_MADE_UP_{number}"
    assert len(request._meta_names) <= request.MAX_KNOWN_NAMES


def test_https_makes_a_request_secure(site: SiteRunner) -> None:
    told = about(site, "/about-request/", scheme="https")
    assert told["secure"]
    assert told["uri"] == "https://testserver/about-request/"


def test_a_connection_without_addresses_has_empty_ones(site: SiteRunner) -> None:
    meta = about(site, "/about-request/", client=None, server=None)["META"]
    assert (meta["REMOTE_ADDR"], meta["SERVER_NAME"], meta["SERVER_PORT"]) == ("", "unknown", "0")


def test_a_path_outside_ascii_reaches_its_view(site: SiteRunner) -> None:
    assert site.get("/café/").body == b"hello"


@pytest.mark.parametrize("root_path", ["/mounted", "/mounted/", b"/mounted"])
def test_a_mounted_site_finds_its_own_paths(site: SiteRunner, root_path: str | bytes) -> None:
    told = about(site, "/mounted/about-request/", root_path=root_path)
    assert told["path"] == "/mounted/about-request/"
    assert told["path_info"] == "/about-request/"
    assert site.get("/mounted/redirect/", root_path=root_path).status == 302


def test_forced_script_name_is_put_before_paths_that_lack_it(site: SiteRunner) -> None:
    with override_settings(FORCE_SCRIPT_NAME="/behind"):
        told = about(site, "/about-request/")
    assert told["path"] == "/behind/about-request/"
    assert told["path_info"] == "/about-request/"
    assert told["META"]["SCRIPT_NAME"] == "/behind"


def test_a_path_that_only_begins_like_the_mount_is_not_stripped(site: SiteRunner) -> None:
    message = site.request_message("GET", "/mountedelsewhere/", root_path="/mounted")
    request = AsgiRequest(Message(message, "http.request", channel_layers["default"]))
    assert request.path_info == "/mountedelsewhere/"


def test_a_form_is_read(site: SiteRunner) -> None:
    told = json.loads(site.post("/form/", b"a=1&a=2&b=caf%C3%A9", FORM).body)
    assert told["POST"] == {"a": ["1", "2"], "b": ["café"]}


def test_files_are_uploaded(site: SiteRunner) -> None:
    content = bytes(range(256)) * 10
    body, content_type = multipart(small=content)
    told = json.loads(site.post("/form/", body, content_type).body)
    assert told["POST"] == {"word": ["café"]}
    assert told["FILES"]["small"] == {
        "name": "small.bin",
        "size": 2560,
        "type": "application/x-test",
        "sha256": hashlib.sha256(content).hexdigest(),
        "kind": "InMemoryUploadedFile",
    }


def test_a_large_upload_comes_through_its_channel_whole(site: SiteRunner) -> None:
    content = bytes(range(256)) * 20_000
    body, content_type = multipart(large=content)
    told = json.loads(post_in_parts(site, "/form/", body, content_type).body)
    assert told["FILES"]["large"]["size"] == len(content)
    assert told["FILES"]["large"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert told["FILES"]["large"]["kind"] == "TemporaryUploadedFile"


def test_a_body_can_be_read_in_pieces(site: SiteRunner) -> None:
    body = b"0123456789" * 50_000
    told = json.loads(post_in_parts(site, "/read-in-pieces/", body, b"text/plain").body)
    assert told["size"] == len(body)
    assert told["sha256"] == hashlib.sha256(body).hexdigest()
    assert told["largest"] == 10_000


def test_a_body_that_nobody_reads_is_not_fetched(site: SiteRunner) -> None:
    body = b"x" * 200_000
    assert post_in_parts(site, "/about-request/", body, b"text/plain").status == 200
    assert site.face.channel_statistics(BODY_CHANNEL)["messages_pending"] == 3


def test_a_body_is_fetched_while_it_still_arrives(site: SiteRunner) -> None:
    message = site.request_message("POST", "/body/", body=b"one ", body_channel=BODY_CHANNEL)
    message["headers"][-1] = [b"content-length", b"14"]
    thread, answer = site.start("http.request", message)
    thread.join(0.05)
    site.face.send(BODY_CHANNEL, {"content": b"two ", "more_content": True})
    site.face.send(BODY_CHANNEL, {"content": b"three.", "more_content": False})
    thread.join()
    assert answer.failure is None
    (reply,) = site.taken(message["reply_channel"])
    assert json.loads(reply["content"])["size"] == 14


@pytest.mark.parametrize(
    "parts",
    [
        [{"content": b"only this", "more_content": False}],
        [{"content": b"more ", "more_content": True}, {"closed": True}],
    ],
    ids=["too short", "client left"],
)
def test_a_body_that_is_cut_short_cannot_be_read(
    site: SiteRunner, parts: list[dict[str, Any]]
) -> None:
    send_in_parts(site, parts)
    answer = site.post(
        "/body/",
        b"start ",
        headers=[(b"content-length", b"500000")],
        body_channel=BODY_CHANNEL,
    )
    assert answer.status == 500
    assert b"UnreadablePostError" in answer.body


def test_a_part_that_does_not_come_is_not_waited_for_for_ever(site: SiteRunner) -> None:
    def fetch() -> None:
        try:
            fetch_body(ShortPatience(site.face), b"", BODY_CHANNEL, 5, patience=0.0)
        except UnreadablePostError as error:
            caught.append(error)

    caught: list[UnreadablePostError] = []
    thread = threading.Thread(target=fetch)
    thread.start()
    thread.join()
    assert "did not come within 0 s" in str(caught[0])


class ShortPatience:
    """A blocking face whose own patience is none."""

    def __init__(self, face: Any) -> None:
        self._face = face

    def receive(self, channels: list[str], block: bool) -> Any:
        return self._face.receive(channels, block=block, timeout=0.0)


def test_a_body_over_the_limit_is_refused_before_it_is_fetched(site: SiteRunner) -> None:
    answer = post_in_parts(site, "/body/", b"x" * 5_000_000, b"text/plain")
    assert answer.status == 400
    pending = site.face.channel_statistics(BODY_CHANNEL)["messages_pending"]
    assert pending == -(-5_000_000 // 65536) - 1


def make_request(site: SiteRunner, *args: Any, **more: Any) -> AsgiRequest:
    message = site.request_message(*args, **more)
    return AsgiRequest(Message(message, "http.request", channel_layers["default"]))


def test_a_request_follows_djangos_rules_for_reading_twice(site: SiteRunner) -> None:
    request = make_request(site, "POST", "/", body=b"line one\nline two\n")
    assert list(request) == [b"line one\n", b"line two\n"]
    with pytest.raises(RawPostDataException):
        _ = request.body
    request = make_request(site, "POST", "/", body=b"abc")
    assert (request.body, request.read(), request.body) == (b"abc", b"abc", b"abc")


def test_a_failure_to_read_the_body_is_told_each_time(site: SiteRunner) -> None:
    send_in_parts(site, [{"closed": True}])
    request = make_request(site, "POST", "/", body=b"abc", body_channel=BODY_CHANNEL)
    with pytest.raises(UnreadablePostError, match="client left") as first:
        _ = request.body
    with pytest.raises(UnreadablePostError, match="client left") as second:
        request.read()
    assert second.value is not first.value


def test_the_encoding_can_be_changed(site: SiteRunner) -> None:
    request = make_request(site, "GET", "/?a=%E9")
    assert request.GET["a"] == "\ufffd"
    request.encoding = "latin-1"
    assert request.GET["a"] == "é"


def test_the_charset_of_the_content_type_is_the_encoding(site: SiteRunner) -> None:
    headers = [(b"content-type", b"text/plain; charset=koi8-r")]
    assert make_request(site, "POST", "/", headers).encoding == "koi8-r"


def test_a_request_knows_its_message_and_where_its_answer_goes(site: SiteRunner) -> None:
    request = make_request(site, "get", "/")
    assert request.method == "GET"
    assert request.message["path"] == "/"
    assert request.reply_channel is not None
    assert request.reply_channel.name == request.message["reply_channel"]
    assert request.environ is request.META
    assert repr(request) == "<AsgiRequest: GET '/'>"
