"""Who waits in a process, and which watches are remembered."""

from __future__ import annotations

from typing import Any

from chanserv.layers.redis.watches import IDLE, Receive, Watch, Watches


def test_the_same_channels_in_any_order_are_one_watch() -> None:
    watches = Watches(lambda _: None)
    one = watches.of(["a", "b"])
    assert watches.of(["b", "a"]) is one
    assert watches.of(["a", "b", "a"]) is one
    assert watches.of(["a"]) is not one
    assert watches.by_signature(one.signature) is one
    assert Watches(lambda _: None).of(["b", "a"]).signature == one.signature


def test_a_channel_named_twice_is_looked_at_once() -> None:
    assert Watches(lambda _: None).of(["a", "b", "a"]).channels == ["a", "b"]


def test_the_watch_that_has_been_idle_for_longest_is_forgotten() -> None:
    forgotten: list[Watch] = []
    watches = Watches(forgotten.append)
    made = [watches.of([f"channel{number}"]) for number in range(IDLE)]
    watches.of(["channel0"])
    watches.of(["another"])
    assert forgotten == [made[1]]
    assert len(watches) == IDLE
    assert watches.by_signature(made[1].signature) is None
    assert not watches.read("channel1")
    assert watches.read("channel0")


def test_a_watch_that_is_of_use_is_not_forgotten() -> None:
    forgotten: list[Watch] = []
    watches = Watches(forgotten.append)
    waiting, asking, rung = (watches.of([name]) for name in ("waiting", "asking", "rung"))
    waiting.receives[Receive(1, None)] = None
    asking.asking = True
    shard: Any = object()
    rung.rung.add(shard)
    made = [watches.of([f"channel{number}"]) for number in range(IDLE + 5)]
    assert not {waiting, asking, rung} & set(forgotten)
    assert forgotten == made[: len(forgotten)]
    assert len(forgotten) == 8


def test_all_that_is_wanted_is_asked_for_together_within_a_bound() -> None:
    watch = Watches(lambda _: None).of(["a"])
    for limit in (1, 5, 20):
        watch.receives[Receive(limit, None)] = None
    assert watch.wanted == 26
    watch.receives[Receive(1_000_000, None)] = None
    assert watch.wanted == 10_000
