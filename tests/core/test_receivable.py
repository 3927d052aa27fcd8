from __future__ import annotations

from typing import Any

import pytest

from chanserv.core.receivable import MAX_KNOWN, ReceivableNames
from chanserv.errors import InvalidChannelName


def test_names_come_out_as_a_tuple_in_their_order() -> None:
    names = ReceivableNames()
    for _ in range(2):
        assert names.checked(["b", "a!", "c?x"]) == ("b", "a!", "c?x")


def test_a_name_that_is_none_is_refused_beside_those_that_are_known() -> None:
    names = ReceivableNames()
    names.checked(["good"])
    for bad in (["good", "a b"], ["good", "process!local"], ["good", None], [["good"]], "good"):
        for _ in range(2):
            with pytest.raises(InvalidChannelName):
                names.checked(bad)  # type: ignore[arg-type]


def test_what_has_been_refused_is_not_remembered_with_the_rest() -> None:
    names = ReceivableNames()
    with pytest.raises(InvalidChannelName):
        names.checked(["good", "a b"])
    assert remembered(names) == set()


def test_names_of_single_readers_are_not_remembered() -> None:
    names = ReceivableNames()
    for number in range(10):
        names.checked([f"single?{number}"])
    assert remembered(names) == set()


def test_the_names_that_are_remembered_have_a_bound() -> None:
    names = ReceivableNames()
    for number in range(5 * MAX_KNOWN):
        names.checked([f"channel{number}"])
        assert len(remembered(names)) <= MAX_KNOWN + 1


def remembered(names: Any) -> set[str]:
    known: set[str] = names._known
    return known
