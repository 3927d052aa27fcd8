from __future__ import annotations

import pickle
import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.errors import ConfigurationError
from chanserv.layers.redis.addresses import servers_from_config, servers_from_url
from chanserv.layers.redis.server import Server, Tls, Watched
from chanserv.layers.redis.server_options import OPTIONS, without_secrets


def one(url: str) -> Server:
    (server,), rest = servers_from_url(url)
    assert rest == []
    return server


def refusal(url: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        servers_from_url(url)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def config_refusal(**config: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        servers_from_config(**config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestURL:
    @pytest.mark.parametrize(
        ("url", "server", "name"),
        [
            ("redis://h", Server("h"), "h:6379/0"),
            ("redis://H.Example:1/2", Server("h.example", 1, db=2), "h.example:1/2"),
            ("redis://h/", Server("h"), "h:6379/0"),
            ("redis://[::1]:5", Server("::1", 5), "[::1]:5/0"),
            ("redis://:pw@h", Server("h", password="pw"), "h:6379/0"),
            ("redis://u:p%40%2Fw@h", Server("h", username="u", password="p@/w"), "h:6379/0"),
            ("redis://h?password=a%26b&db=3", Server("h", password="a&b", db=3), "h:6379/3"),
            ("redis://h?connect_timeout=1&reply_timeout=2.5",
             Server("h", connect_timeout=1, reply_timeout=2.5), "h:6379/0"),
            ("redis://h?socket_connect_timeout=1&socket_timeout=2",
             Server("h", connect_timeout=1, reply_timeout=2), "h:6379/0"),
            ("rediss://h:7", Server("h", 7, tls=Tls()), "h:7/0"),
            ("rediss://h?ca_certs=/c&certfile=/a&keyfile=/b",
             Server("h", tls=Tls("/c", "/a", "/b")), "h:6379/0"),
            ("rediss://h?verify=no", Server("h", tls=Tls(verify=False)), "h:6379/0"),
            ("rediss://h?ssl_cert_reqs=none", Server("h", tls=Tls(verify=False)), "h:6379/0"),
            ("rediss://h?check_hostname=off", Server("h", tls=Tls(check_hostname=False)),
             "h:6379/0"),
            ("redis://h?tls=yes", Server("h", tls=Tls()), "h:6379/0"),
            ("redis+unix:///run/r.sock", Server(path="/run/r.sock"), "unix:/run/r.sock"),
            ("redis+unix:///a%20b?db=1&password=x",
             Server(path="/a b", db=1, password="x"), "unix:/a b?db=1"),
            ("redis+unix://u:pw@/s", Server(path="/s", username="u", password="pw"), "unix:/s"),
            ("redis+sentinel://a,b:5/main",
             Server(watched=Watched((("a", 26379), ("b", 5)), "main")), "sentinel:main/0"),
            ("redis+sentinel://u:pw@a/main/2?sentinel_username=v&sentinel_password=w",
             Server(watched=Watched((("a", 26379),), "main", "v", "w"), db=2,
                    username="u", password="pw"), "sentinel:main/2"),
            ("redis+sentinel://a/main?tls=yes&ca_certs=/c",
             Server(watched=Watched((("a", 26379),), "main"), tls=Tls("/c")), "sentinel:main/0"),
            ("redis+sentinel://a/main?tls=yes&sentinel_tls=yes&ca_certs=/c",
             Server(watched=Watched((("a", 26379),), "main", tls=Tls("/c")), tls=Tls("/c")),
             "sentinel:main/0"),
        ],
    )  # fmt: skip
    def test_it_says_where_a_server_is_and_how_to_log_in(
        self, url: str, server: Server, name: str
    ) -> None:
        assert one(url) == server
        assert one(url).name == name

    def test_several_with_commas_between_them_are_shards(self) -> None:
        servers, _ = servers_from_url("redis://:a,b@one, rediss://two/1,redis+unix:///s")
        assert [server.name for server in servers] == ["one:6379/0", "two:6379/1", "unix:/s"]
        assert servers[0].password == "a,b"

    def test_several_services_of_one_sentinel_are_shards(self) -> None:
        servers, _ = servers_from_url("redis+sentinel://a:1,b:2/one,t%20wo/3")
        assert [server.name for server in servers] == ["sentinel:one/3", "sentinel:t wo/3"]
        for server in servers:
            assert server.watched is not None
            assert server.watched.sentinels == (("a", 1), ("b", 2))

    def test_options_of_the_layer_are_handed_back_in_order(self) -> None:
        servers, rest = servers_from_url("redis://a?db=1&expiry=3&x=y%26,redis://b?expiry=&tls=no")
        assert [server.db for server in servers] == [1, 0]
        assert rest == [("expiry", "3"), ("x", "y&"), ("expiry", "")]

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("", "is no URL of a Redis server: these begin with redis://, rediss://"),
            ("http://h", "is no URL of a Redis server"),
            ("redis:h", "is no URL of a Redis server"),
            ("redis://", "names no host: write redis://127.0.0.1:6379/0, say"),
            ("redis:///0", "names no host"),
            ("rediss://:pw@/0", "rediss://…@/0 names no host: write rediss://127.0.0.1:6379/0"),
            ("redis+sentinel:///main", "names no host: write redis+sentinel://127.0.0.1:26379/"),
            ("redis://h:0", "no port 0"),
            ("redis://h:99999", "no port 99999"),
            ("redis://h:x", "no host:port"),
            ("redis://[::1", "is no URL: Invalid IPv6 URL"),
            ("redis://a,b", "one URL for each shard"),
            ("redis://h/x", "must be the number of a database"),
            ("redis://h/-1", "must be the number of a database"),
            ("redis://h/1?db=2", "gives db twice"),
            ("redis://h?db=1&db=2", "gives db twice"),
            ("redis://h?socket_timeout=1&reply_timeout=2", "gives reply_timeout twice"),
            ("redis://:a@h?password=b", "gives password twice"),
            ("redis://h?password=", "must be a text that is not empty"),
            ("redis://u@h", "a user without a password: write user:password@"),
            ("redis://h?connect_timeout=0", "a number of seconds above 0"),
            ("redis://h?connect_timeout=nan", "a number of seconds above 0"),
            ("redis://h?reply_timeout=9999", "at most 3600"),
            ("redis://h?ca_certs=/c", "which is for TLS: write rediss://"),
            ("rediss://h?keyfile=/k", "a keyfile without its certfile"),
            ("rediss://h?verify=perhaps", "must be yes or no"),
            ("rediss://h?ssl_cert_reqs=optional", "must be 'required' or 'none'"),
            ("redis+unix://run/redis.sock", "must name a socket by its whole path"),
            ("redis+unix:///", "must name a socket by its whole path"),
            ("redis+unix:///s?tls=yes", "a Unix socket has no TLS"),
            ("redis+sentinel://a", "must name what the sentinels call the server"),
            ("redis+sentinel://a/x,,y", "must name what the sentinels call the server"),
            ("redis://h?sentinel_password=x", "has sentinel_password, but no sentinels"),
            ("redis://h,redis://h:6379/0", "h:6379/0 is given twice"),
            ("redis+sentinel://a/x,x", "sentinel:x/0 is given twice"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, url: str, says: str) -> None:
        assert says in refusal(url)

    @pytest.mark.parametrize(
        "url",
        [
            "redis://:hush@h:x",
            "redis://me:hush@h/x",
            "redis://:hush#y@h",
            "redis://:x/hush@h",
            "redis://me:hush/x@h",
            "redis://x@hush@h",
            "redis://h?password=hush&password=x",
            "redis://h?db=x&password=hush",
            "redis://h?db=x&PASSWORD=hush",
            "redis://:x@a,redis://:hush@b/x",
            "redis+sentinel://h?sentinel_password=hush",
            "redis+sentinel://:hush@h",
            "http://:hush@h",
            "redis+unix://:hush@h/s",
            "redis:hush@h",
            "redis://hush@h",
            "redis://h/x?symmetric_encryption_keys=hush",
        ],
    )
    def test_no_error_shows_a_password(self, url: str) -> None:
        assert "hush" not in refusal(url)

    @given(
        st.text(st.characters(codec="ascii", exclude_characters="&\n\r\t")),
        st.sampled_from(
            [
                "redis://me:{}@host:x",
                "redis://:{}@h/x",
                "redis://h?db=x&password={}&expiry=3",
                "redis://h?password={},redis://h/x",
            ]
        ),
    )
    def test_whatever_is_in_it_a_password_is_not_shown(self, text: str, shape: str) -> None:
        url = shape.format(f"HUSH{text}HUSH")
        assert "HUSH" not in without_secrets(url)
        with pytest.raises(ConfigurationError) as caught:
            servers_from_url(url)
        assert "HUSH" not in str(caught.value)


class TestServer:
    def test_its_repr_shows_no_password(self) -> None:
        server = one("redis+sentinel://me:hush@a/s?sentinel_username=me&sentinel_password=hush")
        assert "hush" not in repr(server)
        assert "'me'" not in repr(server)

    def test_processes_that_connect_in_other_ways_agree_on_its_name(self) -> None:
        assert one("redis://h").name == one("rediss://me:pw@H:6379/0?verify=no").name

    def test_it_can_be_carried_to_another_process(self) -> None:
        server = one("rediss://u:p@h/1?ca_certs=/c")
        assert pickle.loads(pickle.dumps(server)) == server


class TestConfig:
    def test_without_hosts_it_is_redis_own_address(self) -> None:
        assert servers_from_config() == (Server("127.0.0.1", 6379),)

    def test_hosts_are_pairs_urls_and_servers(self) -> None:
        given = [("A", 1), ["b", 2], "redis://c:3/4", Server("d")]
        assert [server.name for server in servers_from_config(given)] == [
            "a:1/0",
            "b:2/0",
            "c:3/4",
            "d:6379/0",
        ]

    def test_connection_kwargs_beside_the_url_of_a_layer_are_refused_and_not_ignored(self) -> None:
        servers, _ = servers_from_url("redis://one/0")
        said = config_refusal(hosts=servers, connection_kwargs={"db": 1})
        assert "give the options of one in a URL" in said

    def test_connection_kwargs_are_for_all_hosts_and_a_url_counts_before(self) -> None:
        servers = servers_from_config(
            [("a", 1), "redis://:own@b/2"],
            connection_kwargs={"password": "pw", "db": 1, "socket_timeout": 3, "username": None},
        )
        assert [(one.password, one.db, one.reply_timeout) for one in servers] == [
            ("pw", 1, 3),
            ("own", 2, 3),
        ]

    @pytest.mark.parametrize(
        ("reqs", "verify"),
        [
            ("required", True),
            ("none", False),
            ("CERT_NONE", False),
            (None, False),
            (ssl.CERT_NONE, False),
            (ssl.CERT_REQUIRED, True),
        ],
    )
    def test_tls_is_told_as_redis_py_is_told_it(self, reqs: object, verify: bool) -> None:
        (server,) = servers_from_config(
            [("a", 1)],
            connection_kwargs={
                "ssl": True,
                "ssl_ca_certs": "/c",
                "ssl_certfile": "/a",
                "ssl_keyfile": "/b",
                "ssl_check_hostname": False,
                "ssl_cert_reqs": reqs,
            },
        )
        assert server.tls == Tls("/c", "/a", "/b", verify, check_hostname=False)

    def test_sentinels_and_services(self) -> None:
        servers = servers_from_config(
            sentinels=[("a", 1), "b:2", "redis://:pw@c", "redis://d"],
            services=["one", "two"],
            connection_kwargs={"password": "other", "db": 3},
        )
        assert servers == tuple(
            Server(
                watched=Watched(
                    (("a", 1), ("b", 2), ("c", 26379), ("d", 26379)), service, password="pw"
                ),
                password="other",
                db=3,
            )
            for service in ("one", "two")
        )

    def test_a_url_of_sentinels_may_stand_in_hosts(self) -> None:
        servers = servers_from_config(["redis+sentinel://a/one,two"], connection_kwargs={"db": 1})
        assert [server.name for server in servers] == ["sentinel:one/1", "sentinel:two/1"]

    @pytest.mark.parametrize(
        ("config", "says"),
        [
            ({"hosts": []}, "hosts must be a list"),
            ({"hosts": "redis://:x@h"}, "such as ['redis://127.0.0.1/0'], not 'redis://…@h'"),
            ({"hosts": {"password": "sesame"}}, "not a mapping of password: write redis://"),
            ({"hosts": [("h",)]}, "hosts must hold URLs and (host, port) pairs, not ('h',)"),
            (
                {"hosts": [{"host": "h", "password": "sesame"}]},
                "not a mapping of host, password: write redis://:PASSWORD@HOST:PORT/DATABASE",
            ),
            (
                {"hosts": [["redis://:sesame@h/0"]]},
                "hosts must hold URLs and (host, port) pairs, not ['redis://…@h/0']",
            ),
            ({"hosts": [("h", "1")]}, "hosts must hold"),
            ({"hosts": [5]}, "hosts must hold"),
            ({"hosts": ["redis://h?expiry=3"]}, "options of the layer are keys of CONFIG"),
            ({"hosts": ["redis://h", ("h", 6379)]}, "h:6379/0 is given twice"),
            ({"sentinels": []}, "sentinels must be a list"),
            ({"sentinels": [("a", 1)]}, "services must be a list"),
            ({"sentinels": [("a", 1)], "services": "main"}, "services must be a list"),
            ({"services": ["main"]}, "sentinels must be a list"),
            ({"sentinels": ["redis://a/1"], "services": ["m"]}, "must be redis://"),
            (
                {"sentinels": ["redis://:a@a", "redis://:b@b"], "services": ["m"]},
                "must all have the same sentinel_password",
            ),
            (
                {"hosts": [("a", 1)], "sentinels": [("a", 1)], "services": ["m"]},
                "and not both",
            ),
            ({"connection_kwargs": ["db"]}, "must be a mapping of options"),
            ({"connection_kwargs": {"max_connections": 5}}, "unknown option 'max_connections'"),
            ({"connection_kwargs": {"ssl_ca_certs": "/c"}}, "which is for TLS"),
            ({"connection_kwargs": {"db": "x"}}, "must be the number of a database"),
            ({"connection_kwargs": {"db": True}}, "must be the number of a database"),
            ({"connection_kwargs": {"socket_timeout": True}}, "a number of seconds"),
            ({"connection_kwargs": {"password": 5}}, "password of connection_kwargs must be"),
            ({"connection_kwargs": {"sentinel_password": "x"}}, "but no sentinels"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, config: dict[str, Any], says: str) -> None:
        assert says in config_refusal(**config)

    def test_an_unknown_option_is_answered_with_those_that_are_known(self) -> None:
        message = config_refusal(connection_kwargs={"retries": 5})
        for option in OPTIONS:
            assert option in message

    @pytest.mark.parametrize(
        "config",
        [
            {"hosts": ["redis://:hush@h/x"]},
            {"hosts": ["redis://:hush@h?expiry=3"]},
            {"connection_kwargs": {"password": "hush", "db": "x"}},
            {"connection_kwargs": "hush"},
            {"sentinels": ["redis://:hush@a/x"], "services": ["m"]},
            {"sentinels": ["redis://:hush@a", "redis://:other@a"], "services": ["m"]},
        ],
    )
    def test_no_error_shows_a_password(self, config: dict[str, Any]) -> None:
        assert "hush" not in config_refusal(**config)
