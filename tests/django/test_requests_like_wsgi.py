"""A request from a message is the one that Django makes of the same request under WSGI."""

from __future__ import annotations

import io
import string
from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.django import AsgiRequest, Message, channel_layers

names = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=12).map(
    lambda name: f"x-{name}"
)
values = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30
).map(str.strip)
headers = st.dictionaries(names, values, max_size=6)
paths = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).map("/{}".format)
queries = st.binary(max_size=30).map(lambda query: query.replace(b"#", b""))
mounts = st.sampled_from(["", "/mounted", "/two/deep", "/café"])
types = st.sampled_from(
    [
        "",
        "text/plain",
        "text/html; charset=latin-1",
        "text/plain; charset=nonsense",
        ";;",
        "a/b; c=é",
    ]
)


@given(st.sampled_from(["GET", "post", "PUT"]), paths, queries, headers, values, mounts, types)
def test_both_tell_the_same(
    method: str,
    path: str,
    query: bytes,
    fields: dict[str, str],
    cookie: str,
    mount: str,
    content_type: str,
) -> None:
    fields = {"host": "testserver", **fields}
    if cookie:
        fields["cookie"] = cookie
    if content_type:
        fields["content-type"] = content_type
    ours = from_message(method, mount + path, query, fields, mount)
    theirs = from_environ(method, path, query, fields, mount)
    assert ours.method == theirs.method
    assert ours.path == theirs.path
    assert ours.path_info == theirs.path_info
    assert ours.get_full_path() == theirs.get_full_path()
    assert ours.build_absolute_uri() == theirs.build_absolute_uri()
    assert ours.encoding == theirs.encoding
    assert ours.content_type == theirs.content_type
    assert ours.content_params == theirs.content_params
    assert ours.GET == theirs.GET
    assert ours.COOKIES == theirs.COOKIES
    assert dict(ours.headers) == dict(theirs.headers)
    assert {key: ours.META[key] for key in theirs.META if key != "wsgi.input"} == {
        key: value for key, value in theirs.META.items() if key != "wsgi.input"
    }


def from_message(
    method: str, path: str, query: bytes, fields: dict[str, str], mount: str
) -> AsgiRequest:
    content: dict[str, Any] = {
        "reply_channel": "x!1",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": query,
        "root_path": mount,
        "headers": [[name.encode(), value.encode("latin-1")] for name, value in fields.items()],
        "body": b"",
        "client": ["192.0.2.7", 40000],
        "server": ["127.0.0.1", 8000],
    }
    return AsgiRequest(Message(content, "http.request", channel_layers["default"]))


def from_environ(
    method: str, path: str, query: bytes, fields: dict[str, str], mount: str
) -> WSGIRequest:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method.upper(),
        "SCRIPT_NAME": mount.encode().decode("latin-1"),
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "40000",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
    }
    for name, value in fields.items():
        key = name.upper().replace("-", "_")
        environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    return WSGIRequest(environ)
