"""What a store that was lost, and an owner that is gone, ask of groups."""

from __future__ import annotations

from chanserv.core.groups import Groups


def made() -> Groups:
    groups = Groups(100.0)
    for group in ("one", "two"):
        for channel in ("a!x", "a!y", "b!x", "ordinary"):
            groups.add(group, channel, 10.0)
    return groups


def test_the_memberships_of_a_mailbox_are_those_of_its_channels() -> None:
    assert list(made().memberships_of("a!")) == [
        (group, channel, 110.0) for group in ("one", "two") for channel in ("a!x", "a!y")
    ]
    assert list(made().memberships_of("nobody!")) == []


def test_a_mailbox_is_forgotten_in_all_groups() -> None:
    groups = made()
    groups.forget_mailbox("a!")
    for group in ("one", "two"):
        assert groups.members(group) == ["b!x", "ordinary"]
    groups.forget_mailbox("nobody!")


def test_a_membership_that_is_put_back_ends_at_its_own_time() -> None:
    groups = Groups(100.0)
    groups.put_back("group", "a!x", 50.0)
    groups.drop_due(49.0)
    assert groups.members("group") == ["a!x"]
    groups.drop_due(50.0)
    assert groups.members("group") == []


def test_a_membership_that_has_begun_again_is_left_as_it_is() -> None:
    groups = Groups(100.0)
    groups.add("group", "a!x", 10.0)
    groups.put_back("group", "a!x", 50.0)
    assert list(groups.memberships()) == [("group", "a!x", 110.0)]


def test_a_membership_put_back_beside_a_newer_one_ends_no_earlier() -> None:
    groups = Groups(100.0)
    groups.add("group", "a!new", 10.0)
    groups.put_back("group", "a!old", 50.0)
    groups.drop_due(109.0)
    assert set(groups.members("group")) == {"a!new", "a!old"}
    groups.drop_due(110.0)
    assert groups.members("group") == []
