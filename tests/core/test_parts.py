"""Deadlines, capacities, groups and readers, each by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.core.capacity import CAPACITY, MAILBOX_CAPACITY, Capacities, checked_seconds
from chanserv.core.deadlines import NEVER, Deadlines
from chanserv.core.groups import Gathering, Groups
from chanserv.core.readers import Readers
from chanserv.errors import ConfigurationError


@dataclass(eq=False)
class Row:
    """A row of deadlines, as mailboxes are."""

    items: list[float] = field(default_factory=list)
    scheduled: bool = False

    def first_deadline(self) -> float:
        return self.items[0] if self.items else NEVER


class TestDeadlines:
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=200))
    def test_what_is_due_is_dropped_in_time_and_nothing_else(
        self, steps: list[tuple[int, int]]
    ) -> None:
        rows = [Row() for _ in range(10)]
        deadlines: Deadlines[Row] = Deadlines()
        now = 0.0

        def drop(row: Row) -> None:
            row.items = [item for item in row.items if item > now]

        for which, action in steps:
            row = rows[which]
            if action == 0:
                row.items.append(now + 10)
                if not row.scheduled:
                    deadlines.add(row, now + 10)
            elif action == 1:
                row.items[:1] = []
            else:
                now += action
                deadlines.drop_due(now, drop)
            due = [item for row in rows for item in row.items]
            assert all(item > now for item in due)
            assert deadlines.next <= min(due, default=NEVER)
            if action == 3:
                assert deadlines.first() == min(due, default=NEVER)

    def test_a_row_has_one_entry_however_often_it_changes(self) -> None:
        deadlines: Deadlines[Row] = Deadlines()
        row = Row()
        for number in range(1000):
            row.items.append(number + 10)
            if not row.scheduled:
                deadlines.add(row, number + 10)
            row.items.clear()
        assert len(deadlines) == 1

    def test_clear_forgets_rows_so_that_they_can_be_added_again(self) -> None:
        deadlines: Deadlines[Row] = Deadlines()
        row = Row([5.0])
        deadlines.add(row, 5)
        deadlines.clear()
        assert (row.scheduled, deadlines.next, deadlines.first()) == (False, NEVER, NEVER)


class TestCapacities:
    def test_mailboxes_have_their_own_default(self) -> None:
        capacities = Capacities()
        assert capacities.of("ordinary") == capacities.of("single?x") == CAPACITY
        assert capacities.of("process!") == MAILBOX_CAPACITY

    def test_a_glob_matches_the_whole_name_and_an_expression_its_start(self) -> None:
        capacities = Capacities(1, 2, {"a.*.z": 3, re.compile("b+"): 4, "[xy]": 5})
        names = ("a.b.z", "a.b.z.c", "bbc", "cb", "x", "xy")
        assert [capacities.of(name) for name in names] == [3, 1, 4, 1, 5, 1]

    def test_globs_do_not_ignore_case(self) -> None:
        assert Capacities(1, rules={"A*": 2}).of("a") == 1

    @pytest.mark.parametrize(
        "config",
        [
            {"default": 0},
            {"default": -1},
            {"default": 1.5},
            {"default": True},
            {"default": "5"},
            {"mailbox": 0},
            {"rules": {"a": 0}},
            {"rules": {"a": "1"}},
            {"rules": {5: 1}},
            {"rules": {re.compile(b"a"): 1}},
            {"rules": [("a", 1, 2)]},
            {"rules": ["a"]},
            {"rules": [5]},
        ],
    )
    def test_what_is_no_capacity_is_a_configuration_error_of_one_line(
        self, config: dict[str, Any]
    ) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Capacities(**config)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("value", [0, -1, True, "5", None, float("inf"), float("nan")])
    def test_what_is_no_time_is_a_configuration_error_that_names_the_option(
        self, value: object
    ) -> None:
        with pytest.raises(ConfigurationError, match="expiry must be"):
            checked_seconds("expiry", value)


class TestGroups:
    def test_recipients_are_one_tuple_until_a_member_comes_or_goes(self) -> None:
        gathering = Gathering("g", "p!")
        gathering.renew("p!1", 5)
        first = gathering.recipients
        gathering.renew("p!1", 6)
        assert gathering.recipients is first
        gathering.renew("p!2", 7)
        second = gathering.recipients
        assert second == ("p!1", "p!2")
        gathering.remove("p!3")
        assert gathering.recipients is second
        gathering.remove("p!1")
        assert gathering.recipients == ("p!2",)

    def test_a_group_without_members_is_forgotten(self) -> None:
        groups = Groups(10)
        groups.add("g", "a", 0)
        groups.discard("g", "a")
        groups.add("h", "a", 0)
        groups.drop_due(10)
        groups.add("g", "a", 20)
        groups.add("h", "a", 20)
        groups.forget("a")
        assert groups._groups == {}
        assert groups._groups_of == {}

    def test_a_member_that_left_and_came_again_stays_its_whole_time(self) -> None:
        groups = Groups(10)
        groups.add("g", "a", 0)
        groups.discard("g", "a")
        groups.add("g", "a", 5)
        groups.drop_due(10)
        assert groups.members("g") == ["a"]
        groups.drop_due(15)
        assert groups.members("g") == []


@dataclass(eq=False)
class Someone:
    channels: tuple[str, ...]


class TestReaders:
    def test_the_longest_waiting_comes_first(self) -> None:
        readers: Readers[Someone] = Readers()
        first, second = Someone(("a", "b")), Someone(("b", "c"))
        readers.add(first)
        readers.add(second)
        assert readers.first("b") is first
        assert readers.first("c") is second
        assert readers.first("d") is None

    def test_a_reader_that_left_is_nowhere(self) -> None:
        readers: Readers[Someone] = Readers()
        first, second = Someone(("a", "b")), Someone(("b",))
        readers.add(first)
        readers.add(second)
        assert readers.remove(first)
        assert not readers.remove(first)
        assert (readers.first("a"), readers.first("b")) == (None, second)
        assert list(readers.by_mailbox) == ["b"]

    def test_all_may_leave_at_once(self) -> None:
        readers: Readers[Someone] = Readers()
        someone = Someone(("a",))
        readers.add(someone)
        watched = readers.by_mailbox
        assert readers.remove_all() == [someone]
        assert (len(readers), readers.by_mailbox) == (0, {})
        assert readers.by_mailbox is watched, "the store looks at this very dict"
