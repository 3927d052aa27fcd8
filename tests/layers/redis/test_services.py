"""What sentinels are asked before a layer is made."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chanserv.errors import ConfigurationError
from chanserv.layers.former import present_backend
from chanserv.layers.redis.services import services_of
from tests.processes import free_port
from tests.redis_servers import redis_server, redis_with_sentinels

BACKEND = "asgi_redis.RedisSentinelChannelLayer"


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, int]]:
    """A server that says one thing, whatever it is asked, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[:2]
        thread.join()


def test_a_sentinel_tells_what_it_watches_where_the_one_before_it_is_away() -> None:
    with redis_with_sentinels() as setup:
        there = ("127.0.0.1", setup.sentinels[0].port)
        assert services_of([("127.0.0.1", free_port()), there]) == [setup.service]
        _, config = present_backend(BACKEND, {"hosts": [there]})
        assert config == {"sentinels": [there], "services": [setup.service]}


def test_a_server_that_is_no_sentinel_is_refused_with_what_it_says() -> None:
    with (
        redis_server(tcp=True) as server,
        pytest.raises(ConfigurationError, match=f"127.0.0.1:{server.port}: .*SENTINEL"),
    ):
        services_of([("127.0.0.1", server.port)])


def test_services_are_in_the_order_of_the_alphabet() -> None:
    names = [b"two", b"one"]
    each = b"".join(b"*2\r\n$4\r\nname\r\n$3\r\n%b\r\n" % name for name in names)
    with answering(b"*2\r\n" + each) as there:
        assert services_of([there]) == ["one", "two"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "ended the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks another protocol"),
        (b"-NOAUTH Authentication required.\r\n", "NOAUTH"),
        (b"*0\r\n", "watches none"),
        (b"+OK\r\n", "does not answer as a sentinel does"),
        (b"*1\r\n*1\r\n*1\r\n*1\r\n", "speaks another protocol"),
        (b"*99999999\r\n", "speaks another protocol"),
        (b"$99999999\r\n", "speaks another protocol"),
        (b"*x\r\n", "speaks another protocol"),
    ],
)
def test_whatever_else_answers_is_told(answer: bytes, problem: str) -> None:
    with answering(answer) as there, pytest.raises(ConfigurationError, match=problem):
        services_of([there])


def test_without_a_sentinel_the_names_are_asked_for() -> None:
    with pytest.raises(ConfigurationError, match=r"give their names as services.*mymaster"):
        present_backend(BACKEND, {"hosts": [("127.0.0.1", free_port())]})


def test_hosts_of_another_form_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="not 'sentinel:26379'"):
        present_backend(BACKEND, {"hosts": "sentinel:26379"})
