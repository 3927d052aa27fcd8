from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.errors import ChannelLayerError, InvalidChannelName
from chanserv.names import (
    MAX_NAME_LENGTH,
    check_all_receivable,
    check_channel,
    check_group,
    check_pattern,
    check_receipt,
    check_receivable,
    is_process_specific,
    is_single_reader,
    made_up,
    mailbox_of,
)

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

words = st.text(ALPHABET, min_size=1, max_size=MAX_NAME_LENGTH)
parts = st.text(ALPHABET, max_size=90)
heads = st.text(ALPHABET, min_size=1, max_size=90)
marked = st.builds(lambda head, mark, rest: head + mark + rest, heads, st.sampled_from("!?"), parts)
channels = words | marked
near_names = st.text(ALPHABET + "!?\n é/", max_size=210)

CHECKS: list[Callable[[Any], str]] = [
    check_channel,
    check_receivable,
    check_pattern,
    check_group,
    check_receipt,
]


def is_channel(name: str) -> bool:
    """The grammar once more, without a regular expression."""
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        return False
    if name.count("!") + name.count("?") > 1 or name[0] in "!?":
        return False
    return all(char in ALPHABET + "!?" for char in name)


@given(channels)
def test_names_of_the_grammar_are_channels(name: str) -> None:
    assert check_channel(name) is name


@given(near_names)
def test_channels_are_the_names_of_the_grammar_and_no_others(name: str) -> None:
    if is_channel(name):
        assert check_channel(name) is name
    else:
        with pytest.raises(InvalidChannelName):
            check_channel(name)


@given(near_names)
def test_receipts_go_to_the_channels_with_a_mark(name: str) -> None:
    if is_channel(name) and ("!" in name or "?" in name):
        assert check_receipt(name) is name
    else:
        with pytest.raises(InvalidChannelName):
            check_receipt(name)


@given(near_names)
def test_groups_are_channels_without_a_mark(name: str) -> None:
    if is_channel(name) and "!" not in name and "?" not in name:
        assert check_group(name) is name
    else:
        with pytest.raises(InvalidChannelName):
            check_group(name)


@given(near_names)
def test_patterns_are_channels_that_end_in_a_mark(name: str) -> None:
    if is_channel(name) and name[-1] in "!?":
        assert check_pattern(name) is name
    else:
        with pytest.raises(InvalidChannelName):
            check_pattern(name)


@given(near_names)
def test_channels_without_a_local_part_can_be_received_from(name: str) -> None:
    if is_channel(name) and not ("!" in name and name[-1] != "!"):
        assert check_receivable(name) is name
    else:
        with pytest.raises(InvalidChannelName):
            check_receivable(name)


@given(channels)
def test_a_channels_mailbox_can_be_received_from_and_is_its_own(name: str) -> None:
    mailbox = mailbox_of(name)
    assert check_receivable(mailbox) == mailbox
    assert mailbox_of(mailbox) == mailbox
    assert name.startswith(mailbox)
    assert (mailbox == name) or is_process_specific(name)


@given(heads, parts, parts)
def test_channels_of_one_process_share_a_mailbox(head: str, one: str, other: str) -> None:
    assert mailbox_of(f"{head}!{one}") == mailbox_of(f"{head}!{other}") == f"{head}!"


def test_the_marks_say_who_reads() -> None:
    assert [is_process_specific(name) for name in ("a", "a!", "a!b", "a?b")] == [0, 1, 1, 0]
    assert [is_single_reader(name) for name in ("a", "a?", "a?b", "a!b")] == [0, 1, 1, 0]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", [None, 5, b"channel", ["channel"], object()])
def test_what_is_no_text_is_refused_by_its_type(check: Callable[[Any], str], name: object) -> None:
    with pytest.raises(InvalidChannelName, match=f"must be a str, not {type(name).__name__}"):
        check(name)


@pytest.mark.parametrize("check", CHECKS)
def test_the_refusal_is_a_layers_error_and_a_value_error(check: Callable[[Any], str]) -> None:
    with pytest.raises(ChannelLayerError):
        check("a b")
    with pytest.raises(ValueError, match="'a b'"):
        check("a b")


def test_the_refusal_shortens_a_long_name() -> None:
    with pytest.raises(InvalidChannelName) as caught:
        check_channel("x" * 100_000)
    assert len(str(caught.value)) < 300
    assert "100000 characters" in str(caught.value)


def test_a_local_part_is_answered_with_the_mailbox_to_use() -> None:
    with pytest.raises(InvalidChannelName, match=r"its mailbox 'process!'"):
        check_receivable("process!local")


def test_a_list_of_names_is_no_single_name() -> None:
    assert check_all_receivable(["a", "b!", "c?d"]) == ("a", "b!", "c?d")
    for name in ("abc", b"abc"):
        with pytest.raises(InvalidChannelName, match="takes a list"):
            check_all_receivable(name)  # type: ignore[arg-type]


@given(heads, st.sampled_from("!?"))
def test_a_made_up_name_is_its_pattern_and_a_part_that_is_new_each_time(
    head: str, mark: str
) -> None:
    made = {made_up(head + mark) for _ in range(5)}
    assert len(made) == 5
    for name in made:
        assert check_channel(name).startswith(head + mark)


@given(st.integers(184, MAX_NAME_LENGTH - 1))
def test_a_pattern_that_leaves_no_room_is_refused(length: int) -> None:
    with pytest.raises(InvalidChannelName, match="leaves no room"):
        made_up("a" * length + "!")
