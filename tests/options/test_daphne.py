"""Daphne's options under Daphne's names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.options.daphne import FORMER_NAMES, SHORT, WAYS_OUT, our_options
from chanserv.options.table import CHOICES
from chanserv.running.config import Config
from chanserv.server.endpoints import read_description
from chanserv.tap import Options
from tests.docs.pages import section
from tests.test_tap import config, refusal

OF_DAPHNE = {
    "access-log",
    "application-close-timeout",
    "asgi-protocol",
    "bind",
    "endpoint",
    "fd",
    "http-timeout",
    "log-fmt",
    "no-server-name",
    "ping-interval",
    "ping-timeout",
    "port",
    "proxy-headers",
    "proxy-headers-host",
    "proxy-headers-port",
    "root-path",
    "server-name",
    "threads",
    "unix-socket",
    "verbosity",
    "websocket-connect-timeout",
    "websocket-timeout",
    "ws-protocol",
}
"""All that Daphne has had, from 1 to 4, dashes for underscores."""


def listen(*arguments: str) -> tuple[str, ...]:
    return config(*arguments).listen


class TestListening:
    @pytest.mark.parametrize(
        ("arguments", "endpoint"),
        [
            (["-b", "0.0.0.0"], "tcp:8000:interface=0.0.0.0"),
            (["-p", "80"], "tcp:80:interface=127.0.0.1"),
            (["-p80", "-b0.0.0.0"], "tcp:80:interface=0.0.0.0"),
            (["--bind=::1", "--port=0"], r"tcp:0:interface=\:\:1"),
            (["-b", "[::1]"], r"tcp:8000:interface=\:\:1"),
            (["-u", "/run/a.sock"], "unix:/run/a.sock"),
            (["--unix-socket=/run/a:b"], r"unix:/run/a\:b"),
            (["--fd=3"], "fd:3"),
            (["--fd", "0"], "fd:0"),
            (["-e", "ssl:443:privateKey=k"], "ssl:443:privateKey=k"),
            (["--endpoint=tcp:1"], "tcp:1"),
        ],
    )
    def test_each_way_is_an_endpoint(self, arguments: list[str], endpoint: str) -> None:
        assert listen(*arguments) == (endpoint,)

    def test_ways_add_up_with_our_own(self) -> None:
        given = listen("-e", "tcp:1", "--listen=tcp:2", "-u", "s", "-p", "3", "-e", "tcp:4")
        assert sorted(given) == [
            "tcp:1", "tcp:2", "tcp:3:interface=127.0.0.1", "tcp:4", "unix:s",
        ]  # fmt: skip

    @given(st.text("/a:=\\ ", min_size=1))
    def test_any_path_of_a_socket_is_quoted(self, path: str) -> None:
        ((name, text),) = our_options({"unix-socket": [path]})
        assert name == "listen"
        assert read_description(text).positional == (path,)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["-p", "x"], "--port=x is no port"),
            (["-p", "65536"], "--port=65536 is no port"),
            (["-p", "1", "-p", "2"], "--port is given twice"),
            (["-b="], None),
            (["--bind="], "--bind needs a value"),
            (["--fd=x"], "--fd=x is not the number of a descriptor"),
            (["-e", "tcp:1", "--listen=tcp:1"], "--listen=tcp:1 is given twice"),
            (["-u", ""], "--unix-socket needs a value"),
            (["--no-listen", "--settings=a", "-p", "1"], "contradict each other"),
        ],
    )
    def test_wrong_values_are_named(self, arguments: list[str], said: str | None) -> None:
        if said is not None:
            assert said in refusal(*arguments)


class TestTimes:
    @pytest.mark.parametrize(
        ("argument", "limit", "seconds"),
        [
            ("--ping-interval=20", "ping_interval", 20),
            ("--ping-timeout=40", "ping_timeout", 40),
            ("--websocket_timeout=3600", "socket_lifetime", 3600),
            ("--websocket-timeout=1h", "socket_lifetime", 3600),
            ("--websocket_connect_timeout=7", "handshake_timeout", 7),
            ("--websocket-connect-timeout=7", "handshake_timeout", 7),
            ("--http-timeout=60", "http_timeout", 60),
            ("-t60", "http_timeout", 60),
        ],
    )
    def test_each_is_a_limit(self, argument: str, limit: str, seconds: float) -> None:
        assert getattr(config(argument).limits, limit) == seconds

    @pytest.mark.parametrize("option", ["--websocket_timeout", "--websocket_connect_timeout"])
    def test_for_ever_is_refused_with_the_way_out(self, option: str) -> None:
        said = refusal(f"{option}=-1")
        assert option.replace("_", "-") in said
        assert "group_expiry" in said or "such as 60" in said

    def test_one_option_under_two_names_is_refused(self) -> None:
        said = refusal("--websocket-ping-interval=1", "--ping-interval=2")
        assert "--websocket-ping-interval=2 is given twice" in said

    def test_a_wrong_value_is_named_under_our_name(self) -> None:
        assert "--websocket-ping-interval=x is not a time" in refusal("--ping-interval=x")


class TestOthers:
    def test_the_verbosity_names_consumers_that_run(self) -> None:
        assert not config("-v", "1").narrate
        assert config("-v2").narrate
        assert config("--verbosity=3").narrate
        assert "twist --log-level=warn" in refusal("-v0")
        assert "--verbosity=x must be" in refusal("-vx")

    def test_the_name_of_the_server_is_told_or_left_out(self) -> None:
        assert config().server_name is None
        assert config("-s", "mine").server_name == "mine"
        assert config("--server-name=mine").server_name == "mine"
        assert config("--no-server-name").server_name == ""
        assert "contradict" in refusal("--no-server-name", "-s", "mine")
        assert (
            "--server-name=a\\xe4 must be"
            in refusal("-s", "aä").encode("ascii", "backslashreplace").decode()
        )

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--ws-protocol=chat"], "--ws-protocol is an option of Daphne's: a consumer chooses"),
            (["--ws-protocol", "a", "b"], "--ws-protocol is an option of Daphne's"),
            (["--asgi-protocol=asgi3"], "the site is named by --settings"),
            (["--application-close-timeout=5"], "--stop-timeout"),
            (["--log-fmt=%(message)s"], "--log-format"),
            (["mysite.asgi:application"], "'mysite.asgi:application' is what Daphne serves"),
            (["-p", "80", "mysite.asgi:channel_layer"], "--layer=mysite.asgi:channel_layer"),
            (["runserver"], "'runserver' is no option"),
        ],
    )
    def test_what_cannot_mean_the_same_says_what_to_use(
        self, arguments: list[str], said: str
    ) -> None:
        assert said in refusal(*arguments)


class TestProxies:
    def test_they_are_believed_when_that_is_asked_for(self) -> None:
        assert not config().proxy_headers
        given = config("--proxy-headers")
        assert given.proxy_headers
        assert given.trusted_proxies == Config().trusted_proxies

    def test_networks_add_up_in_place_of_the_default(self) -> None:
        given = config(
            "--proxy-headers", "--trusted-proxies=10.0.0.0/8, ::1", "--trusted-proxies=unix"
        )
        assert given.trusted_proxies == ("10.0.0.0/8", "::1", "unix")

    def test_headers_may_be_named(self) -> None:
        given = config(
            "--proxy-headers",
            "--proxy-headers-host=X-Real-IP",
            "--proxy-headers-port=X-Real-Port",
        )
        assert (given.proxy_headers_host, given.proxy_headers_port) == ("X-Real-IP", "X-Real-Port")

    @pytest.mark.parametrize(
        "option",
        ["--trusted-proxies=::1", "--proxy-headers-host=Forwarded", "--proxy-headers-port=X-Port"],
    )
    def test_they_mean_nothing_by_themselves(self, option: str) -> None:
        name = option.partition("=")[0]
        assert f"{name} has no meaning without --proxy-headers" in refusal(option)

    @pytest.mark.parametrize(
        ("option", "said"),
        [
            ("--trusted-proxies=10.0.0.1,,::1", "has an empty name between its commas"),
            ("--trusted-proxies=here", "is neither an IP address"),
            ("--proxy-headers-host=a b", "is not the name of a header"),
            ("--proxy-headers-host=X:", "is not the name of a header"),
        ],
    )
    def test_wrong_ones_are_named(self, option: str, said: str) -> None:
        assert said in refusal("--proxy-headers", option)


class TestTables:
    def test_every_option_of_daphnes_is_known(self) -> None:
        known = {former.name for former in FORMER_NAMES} | set(WAYS_OUT) | set(CHOICES)
        assert OF_DAPHNE - known == set()

    def test_names_of_ours_are_not_taken(self) -> None:
        former = {former.name for former in FORMER_NAMES} | set(WAYS_OUT)
        assert former & set(CHOICES) == set()
        assert former <= OF_DAPHNE

    def test_the_help_lists_them_in_a_group_of_their_own(self) -> None:
        text = Options().getUsage(width=80)
        group = text.partition("Names that Daphne has for the same:")[2].partition("--version")[0]
        for former in FORMER_NAMES:
            assert f"--{former.name}={former.shown}" in group
        for letter in SHORT:
            assert re.search(rf"^  -{letter} ", group, re.MULTILINE)
        for name in WAYS_OUT:
            assert name not in text

    def test_the_page_lists_all_of_them(self) -> None:
        page = section("running", "daphnes-options")
        for name in OF_DAPHNE:
            assert f"--{name}" in page, name
