from __future__ import annotations

import copy
from collections import OrderedDict, UserDict
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.errors import InvalidMessage
from chanserv.messages import MAX_DEPTH, Delivery, Outcome, SealedMessage, seal, thaw

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=15,
)
messages = st.dictionaries(st.text(max_size=8), values, max_size=6)


def listed(value: Any) -> Any:
    """C{value} with lists for tuples, which is all that sealing changes."""
    if isinstance(value, (list, tuple)):
        return [listed(item) for item in value]
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return value


def containers(value: Any) -> list[int]:
    """The identities of all lists and dicts in C{value}."""
    if isinstance(value, (list, tuple)):
        return [id(value), *(one for item in value for one in containers(item))]
    if isinstance(value, dict):
        return [id(value), *(one for item in value.values() for one in containers(item))]
    return []


class TestSeal:
    @given(messages)
    def test_a_message_of_the_specs_types_is_kept_as_it_is(self, message: dict[str, Any]) -> None:
        sealed = seal(message)
        assert sealed == listed(message)
        assert repr(dict(sealed)) == repr(listed(message)), "a type has changed"

    @given(messages)
    def test_nothing_that_can_change_is_shared_with_the_sender(
        self, message: dict[str, Any]
    ) -> None:
        before = copy.deepcopy(listed(message))
        sealed = seal(message)
        assert not set(containers(sealed)) & set(containers(message))
        message.clear()
        assert sealed == before

    @given(messages)
    def test_sealing_twice_costs_nothing(self, message: dict[str, Any]) -> None:
        sealed = seal(message)
        assert seal(sealed) is sealed

    @given(messages)
    def test_the_size_is_that_of_text_bytes_and_eight_for_the_rest(
        self, message: dict[str, Any]
    ) -> None:
        def size(value: Any) -> int:
            if isinstance(value, (str, bytes)):
                return len(value)
            if isinstance(value, (list, tuple)):
                return sum(map(size, value))
            if isinstance(value, dict):
                return sum(len(key) + size(item) for key, item in value.items())
            return 8

        assert seal(message).size == size(message)

    @given(messages, st.data())
    def test_a_foreign_type_anywhere_is_named_by_its_path(
        self, message: dict[str, Any], data: st.DataObject
    ) -> None:
        message = listed(message)
        where: Any = message
        path = "message"
        while True:
            steps: list[Any] = [
                key
                for key, item in (where.items() if isinstance(where, dict) else enumerate(where))
                if isinstance(item, (list, dict))
            ]
            step = data.draw(st.sampled_from([None, *steps]))
            if step is None:
                break
            where = where[step]
            path += f"[{step!r}]"
        if isinstance(where, dict):
            where["foreign"] = {1}
            path += "['foreign']"
        else:
            where.append({1})
            path += f"[{len(where) - 1}]"
        with pytest.raises(InvalidMessage) as caught:
            seal(message)
        assert caught.value.path == path
        assert "of type set" in str(caught.value)

    def test_subclasses_of_the_specs_types_become_those(self) -> None:
        class Text(str):
            pass

        class Data(bytes):
            pass

        class Colour(StrEnum):
            RED = "red"

        class Number(IntEnum):
            ONE = 1

        class Float(float):
            pass

        sealed = seal(
            {
                Text("key"): Text("text"),
                "data": Data(b"data"),
                "enums": [Colour.RED, Number.ONE],
                "float": Float(1.5),
                "dict": OrderedDict(a=Text("b")),
                "pair": [Data(b"name"), Data(b"value")],
            }
        )
        kinds = [type(key) for key in sealed]
        kinds += [type(sealed[name]) for name in ("key", "data", "float", "dict")]
        kinds += map(type, [*sealed["enums"], sealed["dict"]["a"], *sealed["pair"]])
        expected = [str] * 6 + [str, bytes, float, dict] + [str, int, str, bytes, bytes]
        assert kinds == expected

    def test_any_mapping_is_a_message(self) -> None:
        assert seal(MappingProxyType({"a": 1})) == {"a": 1}
        assert seal(UserDict(a=1)) == {"a": 1}

    @pytest.mark.parametrize("message", [None, [], [("a", 1)], "text", b"bytes", 5, {1}])
    def test_what_is_no_mapping_is_no_message(self, message: Any) -> None:
        with pytest.raises(InvalidMessage, match="message must be a dict"):
            seal(message)

    @pytest.mark.parametrize("key", [1, None, b"key", (1, 2)])
    def test_keys_are_text(self, key: Any) -> None:
        with pytest.raises(InvalidMessage, match=r"keys must be str"):
            seal({key: 1})
        with pytest.raises(InvalidMessage, match=r"^message\['a'\]\[0\] has the key"):
            seal({"a": [{key: 1}]})

    @pytest.mark.parametrize("number", [2**63, -(2**63) - 1, pytest.param(10**5000, id="huge")])
    def test_numbers_have_64_bits(self, number: int) -> None:
        with pytest.raises(InvalidMessage, match="64-bit"):
            seal({"number": number})

    @pytest.mark.parametrize(
        "value",
        [object(), {1}, frozenset(), 1j, bytearray(b"x"), memoryview(b"x"), range(3), print],
    )
    def test_other_types_are_refused(self, value: Any) -> None:
        with pytest.raises(InvalidMessage, match=r"message\['a'\] is of type"):
            seal({"a": value})

    def test_nesting_ends_somewhere(self) -> None:
        def nested(depth: int) -> Any:
            value: Any = 1
            for _ in range(depth):
                value = [value]
            return value

        assert seal({"a": nested(MAX_DEPTH)})
        with pytest.raises(InvalidMessage, match=f"more than {MAX_DEPTH}"):
            seal({"a": nested(MAX_DEPTH + 1)})

    def test_a_cycle_is_refused(self) -> None:
        cycle: list[Any] = []
        cycle.append(cycle)
        with pytest.raises(InvalidMessage):
            seal({"a": cycle})


class TestThaw:
    @given(messages)
    def test_what_is_thawed_may_be_changed_to_the_last_list(self, message: dict[str, Any]) -> None:
        sealed = seal(message)
        thawed = thaw(sealed)
        assert thawed == sealed
        assert type(thawed) is dict
        assert not set(containers(thawed)) & set(containers(sealed))


class TestDelivery:
    def test_it_settles_once_as_it_is_told(self) -> None:
        outcomes: list[Outcome] = []
        delivery = Delivery(("a",), seal({}), outcomes.append)
        delivery.settle(Outcome.LOST)
        delivery.settle()
        assert outcomes == [Outcome.LOST]

    def test_it_settles_in_silence_where_nobody_asked(self) -> None:
        Delivery(("a",), seal({})).settle()

    def test_a_settler_that_settles_again_changes_nothing(self) -> None:
        outcomes: list[Outcome] = []

        def settler(outcome: Outcome) -> None:
            outcomes.append(outcome)
            delivery.settle()

        delivery = Delivery(("a",), seal({}), settler)
        delivery.settle()
        assert outcomes == [Outcome.SETTLED]

    def test_its_channel_is_its_first_recipient(self) -> None:
        delivery = Delivery(("p!1", "p!2"), seal({"text": "hello"}))
        assert delivery.channel == "p!1"
        assert repr(delivery) == "<Delivery to p!1 and 1 others: ['text']>"

    def test_an_outcome_is_text_in_a_message(self) -> None:
        assert [type(outcome.value) for outcome in Outcome] == [str] * 3
        assert SealedMessage({"receipt": Outcome.LOST.value}, 0) == {"receipt": "lost"}
