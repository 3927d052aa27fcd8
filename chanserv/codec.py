"""
Messages as bytes: for layers whose store is outside the process.

The envelope is two bytes, a version and flags, before the payload.  The payload
of version 1 is MessagePack, encrypted with Fernet where the flag says so.
Whoever reads bytes of another version is told which it is, since two versions
of chanserv may share a store during an upgrade.

Bytes from a store are not trusted: whatever they are, L{Codec.decode} returns
a message that L{chanserv.messages.seal} would let pass, or raises
L{CorruptMessage<chanserv.errors.CorruptMessage>}; and it never makes more of
them than they are.

Source: the MessagePack specification; the Fernet specification.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, Protocol

import msgpack

from chanserv.errors import ConfigurationError, CorruptMessage, InvalidMessage
from chanserv.messages import Message, SealedMessage, seal

VERSION: Final = 1
"""The version this module writes, and the only one it reads."""

MAX_ENCODED_SIZE: Final = 64 * 1024 * 1024
"""Bytes that are looked at for one message: far above what any layer carries,
and below what hurts to hold twice."""

_ENCRYPTED: Final = 0x01
_PLAIN_HEAD: Final = bytes([VERSION, 0])
_ENCRYPTED_HEAD: Final = bytes([VERSION, _ENCRYPTED])

# Python's str may hold lone surrogates (an undecodable byte of a path, say),
# which UTF-8 may not.  The memory layer carries them, so every layer does.
_UNICODE_ERRORS: Final = "surrogatepass"


class _Cipher(Protocol):
    def encrypt(self, data: bytes) -> bytes: ...

    def decrypt(self, token: bytes) -> bytes: ...


class Codec:
    """
    Turns messages into bytes and back.

    It keeps no state: any thread may use it.
    """

    __slots__ = ("_cipher", "_invalid_token", "_max_size")

    def __init__(self, keys: Sequence[str | bytes] = (), max_size: int = MAX_ENCODED_SIZE) -> None:
        """
        @param keys: secrets of any length, such as C{SECRET_KEY}; the first
            encrypts, and all are tried in turn to decrypt, so that a key can
            be changed.  None for messages in the clear.
        @param max_size: bytes that L{decode} looks at.
        @raise ConfigurationError: there are keys, but no C{cryptography} to
            use them; or a key is empty or no string.
        """
        self._max_size = max_size
        self._cipher: _Cipher | None = None
        self._invalid_token: type[Exception] = Exception
        if keys:
            self._cipher, self._invalid_token = _cipher_of(keys)

    def encode(self, message: Message) -> bytes:
        """
        The bytes of C{message}.

        @raise InvalidMessage: it holds something outside the spec's types.
        """
        sealed = seal(message)
        try:
            payload: bytes = msgpack.packb(
                sealed, use_bin_type=True, unicode_errors=_UNICODE_ERRORS
            )
        except (TypeError, ValueError, OverflowError) as error:
            # Only for a SealedMessage that was made by hand, or has been changed.
            raise InvalidMessage("message", f"cannot be encoded: {error}") from None
        if self._cipher is None:
            return _PLAIN_HEAD + payload
        return _ENCRYPTED_HEAD + self._cipher.encrypt(payload)

    def decode(self, data: bytes) -> SealedMessage:
        """
        The message whose bytes are C{data}.

        @raise CorruptMessage: they are of no message; or of another version,
            or encrypted with a key that is not among ours, or not encrypted
            though we have keys.
        """
        payload = self._opened(data)
        try:
            found: Any = msgpack.unpackb(
                payload,
                raw=False,
                strict_map_key=True,
                unicode_errors=_UNICODE_ERRORS,
                ext_hook=_refuse_extension,
            )
        except Exception as error:
            # msgpack raises what its parts raise: half a dozen types, not all
            # its own.  None of them may get past here.
            reason = str(error) or type(error).__name__
            raise CorruptMessage(f"{_shown(data)} is no MessagePack: {reason}") from None
        try:
            return seal(found)
        except InvalidMessage as error:
            raise CorruptMessage(f"{_shown(data)} holds no message: {error}") from None

    def _opened(self, data: bytes) -> bytes | memoryview:
        """The MessagePack in the envelope."""
        if len(data) > self._max_size:
            raise CorruptMessage(
                f"{_shown(data)} is over the limit of {self._max_size} bytes for one message"
            )
        if len(data) < len(_PLAIN_HEAD):
            raise CorruptMessage(f"{_shown(data)} is too short for a message")
        version, flags = data[0], data[1]
        if version != VERSION:
            raise CorruptMessage(
                f"{_shown(data)} is of codec version {version}, and this chanserv reads "
                f"version {VERSION}: run one version of chanserv on all that share a store"
            )
        if flags & ~_ENCRYPTED:
            raise CorruptMessage(f"{_shown(data)} has unknown flags {flags:#04x}")
        body = memoryview(data)[len(_PLAIN_HEAD) :]
        if self._cipher is None:
            if flags & _ENCRYPTED:
                raise CorruptMessage(
                    f"{_shown(data)} is encrypted, and this layer has no keys: give all that "
                    f"share a store the same keys"
                )
            return body
        if not flags & _ENCRYPTED:
            raise CorruptMessage(
                f"{_shown(data)} is not encrypted, and this layer has keys: give all that "
                f"share a store the same keys"
            )
        try:
            return self._cipher.decrypt(bytes(body))
        except self._invalid_token:
            raise CorruptMessage(
                f"{_shown(data)} was encrypted with none of this layer's keys, or changed since"
            ) from None


def _cipher_of(keys: Sequence[str | bytes]) -> tuple[_Cipher, type[Exception]]:
    if isinstance(keys, (str, bytes)):
        raise ConfigurationError("encryption keys must be a list of keys, not a single one")
    try:
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet
    except ImportError:
        raise ConfigurationError(
            "encryption keys need the cryptography package: pip install 'chanserv[crypto]'"
        ) from None
    return MultiFernet([Fernet(_fernet_key(key)) for key in keys]), InvalidToken


def _fernet_key(key: str | bytes) -> bytes:
    """A secret of any length, as the 32 bytes that Fernet wants."""
    if not isinstance(key, (str, bytes)) or not key:
        raise ConfigurationError(
            f"an encryption key must be a str or bytes that is not empty, not {type(key).__name__}"
        )
    secret = key.encode() if isinstance(key, str) else key
    return urlsafe_b64encode(sha256(secret).digest())


def _refuse_extension(code: int, data: bytes) -> object:
    raise ValueError(f"extension type {code} has no place in a message")


def _shown(data: bytes) -> str:
    """What an error says of bytes that may be long, and secret."""
    return f"a value of {len(data)} bytes that begins with {bytes(data[:2]).hex() or 'nothing'}"
