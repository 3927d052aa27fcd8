"""Which server a name belongs to, and what moves when servers come and go."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.core.ring import Ring
from chanserv.errors import ConfigurationError

SERVERS = [f"redis-{number}:6379/0" for number in range(10)]
KEYS = [f"server.{number}!" for number in range(5_000)]

servers = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5, unique=True)


@given(servers, st.text())
def test_a_key_belongs_to_the_same_server_whatever_the_order(names: list[str], key: str) -> None:
    assert Ring(names).owner(key) == Ring(names[::-1]).owner(key)


@given(servers, st.text())
def test_the_preference_begins_with_the_owner_and_names_each_server_once(
    names: list[str], key: str
) -> None:
    ring = Ring(names)
    preference = ring.preference(key)
    assert preference[0] == ring.owner(key)
    assert sorted(preference) == sorted(names)


@given(servers, st.text())
def test_the_next_in_preference_is_the_owner_where_the_first_is_missing(
    names: list[str], key: str
) -> None:
    first, *others = Ring(names).preference(key)
    if others:
        assert Ring([name for name in names if name != first]).preference(key) == others


def test_the_place_of_a_key_is_the_same_in_every_process() -> None:
    # Written down: a change would move every key of every running site.
    assert [Ring(SERVERS).owner(key) for key in KEYS[:4]] == [
        "redis-5:6379/0",
        "redis-6:6379/0",
        "redis-4:6379/0",
        "redis-5:6379/0",
    ]


def test_an_added_server_takes_its_share_and_moves_nothing_else() -> None:
    before, after = Ring(SERVERS[:-1]), Ring(SERVERS)
    moved = [key for key in KEYS if before.owner(key) != after.owner(key)]
    assert {after.owner(key) for key in moved} == {SERVERS[-1]}
    assert len(KEYS) * 0.05 < len(moved) < len(KEYS) * 0.2


def test_shares_are_near_each_other() -> None:
    shares = Counter(map(Ring(SERVERS).owner, KEYS))
    assert set(shares) == set(SERVERS)
    assert max(shares.values()) < 1.5 * len(KEYS) / len(SERVERS)
    assert min(shares.values()) > 0.6 * len(KEYS) / len(SERVERS)


def test_a_ring_without_servers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        Ring([])


def test_a_server_named_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="redis-1:6379/0 is named twice"):
        Ring([*SERVERS, SERVERS[1]])
