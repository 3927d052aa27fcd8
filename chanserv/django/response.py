"""
Django responses as messages.

A response that fits one message goes into the outbox of the run; a larger one,
or one that is made as it is sent, goes in parts through L{ReplyStream}.

Source: the ASGI 1 HTTP message format, "Response".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from chanserv.messages import SealedMessage

MAX_PART: Final = 512 * 1024
"""Bytes of a body in one message: with its headers well under the 1 MiB that
every channel layer carries."""

FILE_BLOCK: Final = 128 * 1024
"""Bytes read at once from a file that is sent, in place of Django's 4 KiB: each
block is a message."""

MAX_KNOWN_NAMES: Final = 1024
"""How many header names have their encoded form kept."""

HEADER_SIZE: Final = 64
"""Bytes that one header is taken for in the size of a message: near enough for
a sum that the body rules, and counting each would cost more than it tells."""

BODILESS: Final = frozenset({204, 304})
"""The statuses that never have a body (RFC 9110 sections 15.3.5 and 15.4.5)."""

_encoded_names: dict[str, bytes] = {}


class LaterResponse(HttpResponse):
    """Stands in for the response of a view that raised C{ResponseLater}."""


def head_of(response: HttpResponseBase) -> dict[str, Any]:
    """The start of a response message: its status and headers."""
    known = _encoded_names
    # The pairs as they are kept: items() looks each of them up again.
    headers = [
        [known[name] if name in known else _encode_name(name), value.encode("latin-1")]
        for name, value in response.headers._store.values()
    ]
    if response.cookies:
        headers += [
            [b"set-cookie", cookie.OutputString().encode()] for cookie in response.cookies.values()
        ]
    return {"status": int(response.status_code), "headers": headers}


def has_header(head: dict[str, Any], name: bytes) -> bool:
    """Whether the start of a response message holds the header C{name}."""
    return any(header[0] == name for header in head["headers"])


def _encode_name(name: str) -> bytes:
    encoded = name.lower().encode("latin-1")
    if len(_encoded_names) < MAX_KNOWN_NAMES:
        _encoded_names[name] = encoded
    return encoded


def sealed(message: dict[str, Any]) -> SealedMessage:
    """
    A response message that was built here out of the message types alone, and
    that nobody else holds: sealed without another look at each of its parts.
    """
    size = len(message["content"]) + HEADER_SIZE * len(message.get("headers", ()))
    return SealedMessage(message, size)


def whole_message(response: HttpResponseBase, method: str | None) -> dict[str, Any] | None:
    """
    The one message that a response makes.

    @param method: the request's method.
    @return: the message; L{None} for a response that goes in parts.
    """
    head = head_of(response)
    if response.status_code in BODILESS:
        # CommonMiddleware puts in the length of nothing, which is not that of
        # the page that has not been modified (RFC 9110 section 8.6).
        head["headers"] = [one for one in head["headers"] if one[0] != b"content-length"]
        head["content"] = b""
        return head
    if method == "HEAD":
        if not response.streaming and not response.has_header("Content-Length"):
            _add_length(head, len(_content_of(response)))
        head["content"] = b""
        return head
    if not response.streaming:
        content = _content_of(response)
        if len(content) > MAX_PART:
            return None
        head["content"] = content
        return head
    if _is_small_file(response):
        head["content"] = b"".join(_parts_of_stream(response))
        return head
    return None


def messages_of(response: HttpResponseBase) -> Iterator[dict[str, Any]]:
    """
    The messages that a response makes, the first of which has its status and
    headers; all but the last say C{more_content}.
    """
    message = head_of(response)
    if isinstance(response, StreamingHttpResponse):
        for part in _parts_of_stream(response):
            message["content"] = part
            message["more_content"] = True
            yield message
            message = {}
        message["content"] = b""
        message["more_content"] = False
        yield message
        return
    content = _content_of(response)
    if len(content) > MAX_PART and not response.has_header("Content-Length"):
        _add_length(message, len(content))
    for start in range(0, len(content) or 1, MAX_PART):
        message["content"] = content[start : start + MAX_PART]
        message["more_content"] = start + MAX_PART < len(content)
        yield message
        message = {}


def _add_length(head: dict[str, Any], length: int) -> None:
    head["headers"].append([b"content-length", str(length).encode()])


def _content_of(response: HttpResponseBase) -> bytes:
    content: bytes = response.content  # type: ignore[attr-defined]
    return content


def _is_small_file(response: HttpResponseBase) -> bool:
    if not isinstance(response, FileResponse) or response.file_to_stream is None:
        return False
    length = response.get("Content-Length") or ""
    return length.isdigit() and int(length) <= MAX_PART


def _parts_of_stream(response: Any) -> Iterator[bytes]:
    """What a streaming response yields, none of it empty or over L{MAX_PART}."""
    if isinstance(response, FileResponse) and response.block_size == FileResponse.block_size:
        response.block_size = FILE_BLOCK
    for part in _in_steps(response.streaming_content) if response.is_async else response:
        if len(part) <= MAX_PART:
            if part:
                yield part
        else:
            for start in range(0, len(part), MAX_PART):
                yield part[start : start + MAX_PART]


def _in_steps(parts: AsyncIterator[bytes]) -> Iterator[bytes]:
    """
    What an async iterator yields, each part as it is made, in this thread.

    Django would gather all of it first, and wait for ever for the end of a
    stream of events.  One event loop serves the whole stream; it is closed, and
    what is left of the iterator with it, when nobody wants the rest.
    """

    async def step() -> bytes | None:
        return await anext(parts, None)

    with asyncio.Runner() as runner:
        while (part := runner.run(step())) is not None:
            yield part
