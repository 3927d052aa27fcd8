"""Tests for C{chanserv.worker.retries}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chanserv.errors import ChannelFull, LayerUnavailable, MessageTooLarge
from chanserv.messages import Send
from chanserv.worker import retries
from chanserv.worker.retries import (
    FIRST_RESEND,
    LONGEST_POSTPONEMENT,
    LONGEST_RESEND,
    MAX_POSTPONEMENTS,
    SEND_PATIENCE,
    HeldSends,
    postponement,
    postponements,
)


def full(send: Send) -> ChannelFull:
    return ChannelFull(send.channel, 100, 100, 1.0)


def numbered(channel: str, number: int) -> Send:
    return Send(channel, {"number": number})


class TestPostponement:
    def test_waits_grow_and_are_bounded(self) -> None:
        waits = [postponement(count) for count in range(1, MAX_POSTPONEMENTS + 1)]
        assert waits == sorted(waits)
        assert waits[0] < waits[1]
        assert waits[-1] == LONGEST_POSTPONEMENT

    def test_after_ten_times_a_message_is_dropped(self) -> None:
        assert postponement(10) is not None
        assert postponement(11) is None

    def test_the_count_is_read_from_the_message_where_channels_1_put_it(self) -> None:
        assert postponements({}) == 0
        assert postponements({"__retries__": 3}) == 3

    @given(st.none() | st.text() | st.floats() | st.integers(max_value=0))
    def test_a_count_that_is_none_counts_as_none(self, count: object) -> None:
        assert postponements({"__retries__": count}) == 0


class TestHeldSends:
    def test_nothing_is_held_at_first(self) -> None:
        held = HeldSends()
        assert held.next_due() is None
        assert held.take_due(100) == []
        assert not held.blocks("server!1")

    def test_a_held_send_is_due_after_a_short_wait_and_not_before(self) -> None:
        held = HeldSends()
        held.hold(numbered("a", 1), "consumer", now=10)
        assert held.next_due() == 10 + FIRST_RESEND
        assert held.take_due(10) == []
        assert [one.send for one in held.take_due(10 + FIRST_RESEND)] == [numbered("a", 1)]

    def test_it_is_given_out_once_until_its_outcome_is_known(self) -> None:
        held = HeldSends()
        held.hold(numbered("a", 1), "consumer", now=0)
        (taken,) = held.take_due(1)
        assert held.take_due(2) == []
        assert held.next_due() is None
        assert held.tried([taken], [full(taken.send)], 2) == []
        assert held.take_due(10) == [taken]

    def test_a_mailbox_blocks_all_of_its_channels_and_no_others(self) -> None:
        held = HeldSends()
        held.hold(numbered("server!1", 1), "consumer", now=0)
        assert held.blocks("server!1")
        assert held.blocks("server!2")
        assert not held.blocks("other!1")
        assert not held.blocks("server")

    def test_waits_double_up_to_a_bound_while_nothing_moves(self) -> None:
        held = HeldSends()
        held.hold(numbered("a", 1), "consumer", now=0)
        waits = []
        now = 0.0
        for _ in range(8):
            due = held.next_due()
            assert due is not None
            waits.append(due - now)
            now = due
            taken = held.take_due(now)
            held.tried(taken, [full(one.send) for one in taken], now)
        assert waits[1] > waits[0]
        assert max(waits) <= LONGEST_RESEND + 1e-9
        assert waits == sorted(waits)

    def test_patience_ends(self) -> None:
        held = HeldSends()
        held.hold(numbered("a", 1), "site.consumer", now=0)
        taken = held.take_due(SEND_PATIENCE)
        error = full(taken[0].send)
        assert held.tried(taken, [error], SEND_PATIENCE) == [(taken[0], error)]
        assert held.count == 0
        assert not held.blocks("a")

    def test_any_other_error_ends_a_send_at_once(self) -> None:
        for error in (LayerUnavailable("away"), MessageTooLarge("a", 2, 1)):
            held = HeldSends()
            held.hold(numbered("a", 1), "consumer", now=0)
            taken = held.take_due(1)
            assert held.tried(taken, [error], 1) == [(taken[0], error)]
            assert held.count == 0

    def test_what_is_refused_stays_before_what_came_meanwhile(self) -> None:
        held = HeldSends()
        for number in (1, 2):
            held.hold(numbered("a", number), "consumer", now=0)
        taken = held.take_due(1)
        held.hold(numbered("a", 3), "consumer", now=1)
        held.tried(taken, [None, full(taken[1].send)], 1)
        assert [one.send.message["number"] for one in held.take_due(2)] == [2, 3]

    def test_there_is_a_bound_to_how_many_are_held(self, monkeypatch) -> None:
        monkeypatch.setattr(retries, "MAX_HELD_SENDS", 2)
        held = HeldSends()
        assert held.hold(numbered("a", 1), "consumer", now=0)
        assert held.hold(numbered("b", 1), "consumer", now=0)
        assert not held.hold(numbered("c", 1), "consumer", now=0)
        assert not held.blocks("c")
        assert not held.hold(numbered("a", 2), "consumer", now=0)
        assert held.count == 2

    def test_clear_gives_back_everything(self) -> None:
        held = HeldSends()
        held.hold(numbered("a", 1), "consumer", now=0)
        held.take_due(1)
        held.hold(numbered("b", 2), "consumer", now=1)
        assert len(held.clear()) == 2
        assert held.count == 0
        assert held.next_due() is None

    @given(
        st.lists(st.tuples(st.sampled_from(["a!1", "a!2", "b"]), st.booleans()), max_size=30),
        st.randoms(),
    )
    def test_whatever_is_refused_when_each_mailbox_keeps_its_order(
        self, script: list[tuple[str, bool]], random
    ) -> None:
        held, sent, now = HeldSends(), [], 0.0
        for number, (channel, refused) in enumerate(script):
            now += 0.01
            send = numbered(channel, number)
            if held.blocks(channel) or refused:
                held.hold(send, "consumer", now)
            else:
                sent.append(send)
            taken = held.take_due(now)
            # As a layer does: once one is refused, those behind it are too.
            errors: list[Exception | None] = []
            closed: set[str] = set()
            for one in taken:
                mailbox = one.send.channel.partition("!")[0]
                if mailbox in closed or random.random() < 0.5:
                    closed.add(mailbox)
                    errors.append(full(one.send))
                else:
                    sent.append(one.send)
                    errors.append(None)
            assert held.tried(taken, errors, now) == []
        while held.count:
            now = held.next_due() or now
            taken = held.take_due(now)
            sent += [one.send for one in taken]
            held.tried(taken, [None] * len(taken), now)
        assert len(sent) == len(script)
        for mailbox in ("a", "b"):
            numbers = [one.message["number"] for one in sent if one.channel.startswith(mailbox)]
            assert numbers == sorted(numbers)
