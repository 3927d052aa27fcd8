"""HTTP with a whole server: what real clients do, and what false ones try."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.end_to_end.clients import ask, connected, get, until
from tests.end_to_end.conftest import Start
from tests.processes import Served

END = b"GET /status/404/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
"""What ends a connection: its answer shows that the server and the client agree
where the requests before it ended."""

MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def server(start_for_module: Start) -> Served:
    return start_for_module("--threads=4")


def say(server: Served, data: bytes) -> bytes:
    """All that comes back on a connection of its own, until the server closes it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(data)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def requests(*lines: str) -> bytes:
    return b"".join(f"{line} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for line in lines)


def responses(answer: bytes, methods: list[str]) -> list[tuple[int, bytes]]:
    """Take apart the responses to requests of C{methods}, to the last byte."""
    found = []
    for method in methods:
        head, _, answer = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        body = b""
        if method == "HEAD" or status in (204, 304):
            pass
        elif headers.get(b"transfer-encoding") == b"chunked":
            while size := int(answer[: answer.index(b"\r\n")], 16):
                start = answer.index(b"\r\n") + 2
                body += answer[start : start + size]
                answer = answer[start + size + 2 :]
            answer = answer[answer.index(b"\r\n\r\n") + 4 :]
        else:
            size = int(headers[b"content-length"])
            body, answer = answer[:size], answer[size:]
        found.append((status, body))
    assert answer == b""
    return found


def test_pipelined_requests_of_all_kinds_are_answered_in_order_to_the_byte(server: Served) -> None:
    lines = [
        "GET /slow/150/", "GET /", "HEAD /", "GET /status/204/", "GET /status/304/",
        "HEAD /stream/1/", "GET /stream/1/", "HEAD /file/1/", "GET /file/1/", "GET /slow/1/",
        "OPTIONS *",
    ]  # fmt: skip
    answer = say(server, requests(*lines) + END)
    methods = [line.split()[0] for line in lines] + ["GET"]
    answered = responses(answer, methods)
    assert [(status, len(body)) for status, body in answered[:-2]] == [
        (200, 8), (200, 5), (200, 0), (204, 0), (304, 0),
        (200, 0), (200, MEGABYTE), (200, 0), (200, MEGABYTE), (200, 6),
    ]  # fmt: skip
    assert [status for status, _ in answered[-2:]] == [404, 404]


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Content-Length: 11\r\nContent-Length: 11\r\n",
        b"Content-Length: 11\r\nContent-Length: 12\r\n",
        b"Content-Length: 11, 11\r\n",
        b"Content-Length: +11\r\n",
        b"Content-Length: 1_1\r\n",
        b"Content-Length: \r\n",
        b"X: y\nContent-Length: 11\r\n",
        b"X: y\rContent-Length: 11\r\n",
        b"X: y\0\r\n",
        b" X: y\r\n",
        b": y\r\n",
        b"no colon\r\n",
        b"Host: other\r\n",
    ],
)
def test_what_another_server_could_read_otherwise_is_refused(server: Served, head: bytes) -> None:
    request = b"POST /about/ HTTP/1.1\r\n" + head + b"Host: localhost\r\n\r\n0\r\n\r\n" + END
    answer = say(server, request)
    assert answer.split(b" ")[1] in (b"400", b"501")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "chunks",
    [
        b"0xb\r\nhello world\r\n0\r\n\r\n",
        b" b\r\nhello world\r\n0\r\n\r\n",
        b"b \r\nhello world\r\n0\r\n\r\n",
        b"b\nhello world\n0\n\n",
        b"b;a=\nb\r\nhello world\r\n0\r\n\r\n",
        b"b\r\nhello worldXX0\r\n\r\n",
        b"-b\r\nhello world\r\n0\r\n\r\n",
    ],
)
def test_chunks_that_another_server_could_read_otherwise_are_refused(
    server: Served, chunks: bytes
) -> None:
    head = b"POST /about/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = say(server, head + chunks + END)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_view_that_does_not_read_its_upload_leaves_the_connection_whole(server: Served) -> None:
    upload = b"POST /unread/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n"
    answer = say(server, (upload + b"x" * 3_000_000) * 2 + END)
    assert responses(answer, ["POST", "POST", "GET"]) == [
        (200, b"not read"), (200, b"not read"), (404, b"body"),
    ]  # fmt: skip
    assert deleted_files(server) == 0


def test_an_upload_in_slow_chunks_arrives_whole(server: Served) -> None:
    async def upload() -> bytes:
        async with connected(server.port) as (reader, writer):
            writer.write(
                b"POST /digest/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
            )
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            for number in range(20):
                writer.write(b"%x\r\n%b\r\n" % (MEGABYTE, bytes([number]) * MEGABYTE))
                await writer.drain()
                await asyncio.sleep(0.01)
            writer.write(b"0\r\n\r\n")
            return await reader.read()

    whole = b"".join(bytes([number]) * MEGABYTE for number in range(20))
    assert asyncio.run(upload()).endswith(hashlib.sha256(whole).hexdigest().encode())


def deleted_files(server: Served) -> int:
    """How many files without a name the server has open: the bodies on disk."""
    count = 0
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            count += os.readlink(link).endswith("(deleted)")
        except FileNotFoundError:
            pass
    return count


def test_clients_that_leave_their_uploads_leave_no_files(server: Served) -> None:
    async def leave() -> None:
        async with AsyncExitStack() as stack:
            for _ in range(10):
                _, writer = await stack.enter_async_context(connected(server.port))
                writer.write(
                    b"POST /digest/ HTTP/1.1\r\nHost: localhost\r\n"
                    b"Content-Length: 9000000\r\n\r\n" + b"x" * MEGABYTE
                )
                await writer.drain()
            while deleted_files(server) < 10:
                await asyncio.sleep(0.02)
        while deleted_files(server):
            await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(leave(), 30))


@pytest.mark.parametrize("path", ["/stream/100/", "/file/100/"])
def test_a_slow_reader_holds_no_memory_and_nobody_up(server: Served, path: str) -> None:
    async def read() -> tuple[int, int]:
        before = server.resident_kb()
        async with connected(server.port) as (reader, writer):
            writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(20):
                assert (await get(server.port)).endswith(b"hello")
            most = server.resident_kb()
            size = 0
            while part := await reader.read(MEGABYTE):
                size += len(part)
                most = max(most, server.resident_kb())
        return size, most - before

    size, growth = asyncio.run(read())
    assert size == 100 * MEGABYTE
    assert growth < 20_000


def test_streams_end_with_their_clients(server: Served) -> None:
    async def leave() -> None:
        for _ in range(8):  # twice the threads: each must come free again
            async with connected(server.port) as (reader, writer):
                writer.write(requests("GET /ticks/"))
                await reader.readuntil(b"tick\n")
        await until(
            server.port, "/notes/", lambda answer: answer["notes"].count("ticks closed") == 8
        )

    asyncio.run(leave())


def test_two_hundred_waiting_clients_are_answered_together(server: Served) -> None:
    async def wait() -> None:
        port = server.port
        waiting = [asyncio.create_task(get(port, "/later/")) for _ in range(200)]
        await until(port, "/members/later/", lambda answer: len(answer["members"]) == 200)
        await get(port, "/answer/")
        answers = await asyncio.gather(*waiting)
        assert all(answer.endswith(b"at last") for answer in answers)
        assert await ask(port, "/members/later/") == {"members": []}
        await until(
            port,
            "/notes/",
            lambda answer: answer["notes"].count("http.disconnect /later/") == 200,
        )

    asyncio.run(wait())
    assert "cannot be used" not in server.log()


def test_a_waiting_client_that_leaves_is_told_of_and_no_member_any_more(server: Served) -> None:
    async def leave() -> None:
        port = server.port
        before = (await ask(port, "/notes/"))["notes"].count("http.disconnect /later/")
        async with connected(port) as (_, writer):
            writer.write(requests("GET /later/"))
            await until(port, "/members/later/", lambda answer: len(answer["members"]) == 1)
        await until(port, "/members/later/", lambda answer: not answer["members"])
        await until(
            port,
            "/notes/",
            lambda answer: answer["notes"].count("http.disconnect /later/") == before + 1,
        )

    asyncio.run(leave())


def test_a_hundred_cookies_and_text_outside_ascii_go_both_ways(server: Served) -> None:
    answer = asyncio.run(get(server.port, "/cookies/100/"))
    assert answer.lower().count(b"\r\nset-cookie: ") == 100
    answer = asyncio.run(get(server.port, "/headers/"))
    assert "\r\nx-latin: Grüße\r\n".encode("latin-1") in answer
    request = b"GET /about/caf%C3%A9 HTTP/1.1\r\nHost: localhost\r\nX-Word: Gr\xfc\xdfe\r\n\r\n"
    body = responses(say(server, request + END), ["GET", "GET"])[0][1]
    assert b'"HTTP_X_WORD": "Gr\\u00fc\\u00dfe"' in body
    assert b'"path": "/about/caf\\u00e9"' in body


def test_no_misbehaviour_of_clients_is_logged_as_a_fault(server: Served) -> None:
    """The last of this file: after all the others."""
    assert "Traceback" not in server.log()
