from __future__ import annotations

import sys
from collections.abc import Mapping

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.codec import VERSION, Codec
from chanserv.errors import ConfigurationError, CorruptMessage, InvalidMessage
from chanserv.messages import SealedMessage, seal

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
messages = st.dictionaries(st.text(), values, max_size=6)

plain = Codec()
secret = Codec(["a key of the site"])


@pytest.fixture(params=["plain", "encrypted"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return plain if request.param == "plain" else secret


@given(messages)
def test_what_was_encoded_is_decoded_as_it_was_sealed(message: Mapping[str, object]) -> None:
    assert plain.decode(plain.encode(message)) == seal(message)
    assert secret.decode(secret.encode(message)) == seal(message)


def test_what_is_decoded_is_sealed(codec: Codec) -> None:
    assert type(codec.decode(codec.encode({"text": "hello"}))) is SealedMessage


def test_bytes_and_text_stay_apart(codec: Codec) -> None:
    message = {"text": "1", "bytes": b"1", "headers": [[b"a", b"\xff"], [b"a", b""]]}
    assert codec.decode(codec.encode(message)) == message


def test_text_that_is_no_unicode_is_carried_all_the_same(codec: Codec) -> None:
    message = {"path": "/\udcff"}
    assert codec.decode(codec.encode(message)) == message


@given(st.binary())
def test_random_bytes_are_corrupt_or_a_message_and_nothing_else(data: bytes) -> None:
    for start in (b"", b"\x01\x00", b"\x01\x01", b"\x01\x00\x81\xa1a"):
        try:
            found = plain.decode(start + data)
        except CorruptMessage:
            continue
        assert type(found) is SealedMessage
        assert repr(plain.decode(plain.encode(found))) == repr(found)


@given(messages, st.data())
def test_a_truncated_message_is_corrupt(message: dict[str, object], data: st.DataObject) -> None:
    encoded = plain.encode(message)
    length = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(CorruptMessage):
        plain.decode(encoded[:length])


@given(messages, st.binary(min_size=1))
def test_a_message_with_something_after_it_is_corrupt(
    message: dict[str, object], rest: bytes
) -> None:
    with pytest.raises(CorruptMessage):
        plain.decode(plain.encode(message) + rest)


@given(st.data())
def test_a_changed_encrypted_message_never_becomes_another(data: st.DataObject) -> None:
    encoded = bytearray(secret.encode({"text": "hello"}))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        # Some bits and characters of Base64 carry nothing.
        assert secret.decode(bytes(encoded)) == {"text": "hello"}
    except CorruptMessage:
        pass


def test_a_length_that_promises_more_than_there_is_is_corrupt() -> None:
    for head in (
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1a\xdd\xff\xff\xff\xff",
        b"\x81\xa1a\xc6\xff\xff\xff\xff",
    ):
        with pytest.raises(CorruptMessage):
            plain.decode(b"\x01\x00" + head)


def test_nesting_without_end_is_corrupt() -> None:
    for depth in (33, 600, 100_000):
        with pytest.raises(CorruptMessage):
            plain.decode(b"\x01\x00\x81\xa1a" + b"\x91" * depth + b"\xc0")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([1, 2], id="list"),
        pytest.param("text", id="text"),
        pytest.param({b"key": 1}, id="key of bytes"),
        pytest.param({1: 1}, id="key of int"),
        pytest.param({"number": 2**64 - 1}, id="large number"),
        pytest.param({"time": msgpack.Timestamp(1, 2)}, id="timestamp"),
        pytest.param({"other": msgpack.ExtType(5, b"")}, id="extension"),
    ],
)
def test_messagepack_of_anything_but_a_message_is_corrupt(value: object) -> None:
    with pytest.raises(CorruptMessage):
        plain.decode(b"\x01\x00" + msgpack.packb(value))


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_refused_by_its_number(version: int) -> None:
    with pytest.raises(CorruptMessage, match=rf"codec version {version}\b.*version {VERSION}\b"):
        plain.decode(bytes([version]) + plain.encode({})[1:])


def test_unknown_flags_are_refused() -> None:
    with pytest.raises(CorruptMessage, match="flags 0x02"):
        plain.decode(b"\x01\x02\x80")


def test_a_message_over_the_limit_is_not_even_looked_at() -> None:
    codec = Codec(max_size=100)
    with pytest.raises(CorruptMessage, match="limit of 100 bytes"):
        codec.decode(b"\x01\x00" + b"\xff" * 99)


def test_a_message_with_another_type_is_not_encoded(codec: Codec) -> None:
    with pytest.raises(InvalidMessage, match=r"message\['a'\]\[0\]"):
        codec.encode({"a": [object()]})


def test_a_sealed_message_that_lies_about_itself_is_not_encoded() -> None:
    with pytest.raises(InvalidMessage):
        plain.encode(SealedMessage({"a": object()}, 1))
    with pytest.raises(InvalidMessage):
        plain.encode(SealedMessage({"a": 2**70}, 1))


class TestEncryption:
    def test_nothing_of_the_message_can_be_read(self) -> None:
        assert b"hello" not in secret.encode({"text": "hello"})

    def test_one_message_is_never_the_same_bytes_twice(self) -> None:
        assert secret.encode({"text": "hello"}) != secret.encode({"text": "hello"})

    def test_an_old_key_still_reads_while_the_new_one_writes(self) -> None:
        both = Codec(["new", "old"])
        assert both.decode(Codec(["old"]).encode({"a": 1})) == {"a": 1}
        assert Codec(["new"]).decode(both.encode({"a": 1})) == {"a": 1}

    def test_a_message_under_another_key_is_corrupt(self) -> None:
        with pytest.raises(CorruptMessage, match="none of this layer's keys"):
            Codec(["one"]).decode(Codec(["other"]).encode({}))

    def test_who_has_keys_takes_nothing_in_the_clear(self) -> None:
        with pytest.raises(CorruptMessage, match="not encrypted"):
            secret.decode(plain.encode({}))

    def test_who_has_no_keys_is_told_that_it_is_encrypted(self) -> None:
        with pytest.raises(CorruptMessage, match="has no keys"):
            plain.decode(secret.encode({}))

    def test_keys_are_text_or_bytes_alike(self) -> None:
        assert Codec([b"key"]).decode(Codec(["key"]).encode({"a": 1})) == {"a": 1}

    @pytest.mark.parametrize("keys", ["key", b"key", [""], [b""], [5], [None]])
    def test_what_is_no_list_of_keys_is_refused(self, keys: object) -> None:
        with pytest.raises(ConfigurationError):
            Codec(keys)  # type: ignore[arg-type]

    def test_without_the_package_the_error_names_the_extra(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'chanserv\[crypto\]'"):
            Codec(["key"])

    def test_the_error_shows_neither_key_nor_message(self) -> None:
        with pytest.raises(CorruptMessage) as caught:
            secret.decode(plain.encode({"password": "hunter2"}))
        assert "hunter2" not in str(caught.value)
        assert "a key of the site" not in str(caught.value)
