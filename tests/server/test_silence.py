"""Clients that are silent, and for how long they may be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chanserv.server import Limits
from chanserv.server.silence import Silence, Verdict

LIMITS = Limits(ping_interval=20, ping_timeout=10)


def silence(limits: Limits = LIMITS, lifetime: float = 1000) -> Silence:
    return Silence(limits, 100, lifetime)


def test_a_silent_client_is_pinged_and_then_gone() -> None:
    client = silence()
    assert client.deadline == 120
    assert client.judge(119, False) is Verdict.WAIT
    assert client.judge(120, False) is Verdict.PING
    assert client.deadline == 130
    assert client.judge(129, False) is Verdict.WAIT
    assert client.judge(130, False) is Verdict.GONE


def test_one_that_answers_has_its_time_anew() -> None:
    client = silence()
    client.judge(120, False)
    client.heard = 121
    assert client.judge(130, False) is Verdict.WAIT
    assert client.deadline == 141


def test_one_that_is_not_read_is_pinged_on_and_never_gone() -> None:
    client = silence()
    verdicts = [client.judge(now, True) for now in range(110, 180, 10)]
    assert verdicts == [Verdict.WAIT, *[Verdict.PING] * 6]
    assert client.judge(180, False) is Verdict.GONE


def test_without_pings_only_its_lifetime_ends_it() -> None:
    client = silence(Limits(ping_interval=0))
    assert client.deadline == 1100
    assert client.judge(1099, False) is Verdict.WAIT
    assert client.judge(1100, False) is Verdict.EXPIRED


@given(st.lists(st.tuples(st.floats(0.1, 15), st.booleans()), max_size=60))
def test_whoever_is_judged_in_time_and_heard_often_enough_stays(
    steps: list[tuple[float, bool]],
) -> None:
    client, now = silence(lifetime=10_000), 100.0
    for seconds, speaks in steps:
        now += seconds
        if speaks or now >= client.heard + 25:
            client.heard = now
        assert client.judge(now, False) in (Verdict.WAIT, Verdict.PING)
        assert client.deadline > now
