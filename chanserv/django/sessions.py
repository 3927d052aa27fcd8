"""
Sessions for consumers.

- C{channel_session} gives each WebSocket a session of its own,
  C{message.channel_session}, kept from C{websocket.connect} to
  C{websocket.disconnect} under a key made from its reply channel.
- C{http_session} opens the session of the browser, by its cookie, as
  C{message.http_session}; L{None} where there is none.  Only the messages that
  begin a connection have cookies.

Both use the site's C{SESSION_ENGINE}.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.contrib.sessions.backends.base import CreateError, SessionBase
from django.core.exceptions import ImproperlyConfigured
from django.http.cookie import parse_cookie

from chanserv.django.decorators import Wrapped, around
from chanserv.django.message import Message

_KEY_PREFIX: Final = "chn"
_KEY_DIGITS: Final = 29
"""With the prefix, the 32 characters that a session key has."""

_COOKIE_SESSIONS: Final = "django.contrib.sessions.backends.signed_cookies"


def session_for_reply_channel(reply_channel: str) -> SessionBase:
    """
    The session of one connection; empty where nothing is stored yet.

    @param reply_channel: its name.
    @raise ImproperlyConfigured: the site keeps sessions in cookies, and a
        WebSocket cannot be given one.
    """
    if settings.SESSION_ENGINE == _COOKIE_SESSIONS:
        raise ImproperlyConfigured(
            f"SESSION_ENGINE is {_COOKIE_SESSIONS!r}, which cannot hold the sessions of "
            f"channels: use one that stores them, such as "
            f"'django.contrib.sessions.backends.cached_db'"
        )
    digest = hashlib.sha256(reply_channel.encode()).hexdigest()
    return _open_session(_KEY_PREFIX + digest[:_KEY_DIGITS], keep_key=True)


def _open_session(key: str, keep_key: bool) -> SessionBase:
    store: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(session_key=key)
    store.keys()
    if keep_key and store.session_key is None:
        # Nothing was stored under the key.  The next save creates it.
        store._session_key = key
        store.must_create = True  # type: ignore[attr-defined]
    return store


def _save(session: SessionBase, key: str) -> None:
    """Store a connection's session, under its own key whatever was done to it."""
    if not session.modified:
        return
    must_create = session.__dict__.pop("must_create", False) or session.session_key != key
    session._session_key = key
    try:
        session.save(must_create=must_create)
    except CreateError:
        session.save()


def _with_channel_session(message: Message, proceed: Callable[[], Any]) -> Any:
    if hasattr(message, "channel_session"):
        return proceed()
    if message.reply_channel is None:
        raise ValueError(
            f"channel_session needs a reply channel, and the message on "
            f"{message.channel.name!r} has none"
        )
    session = session_for_reply_channel(message.reply_channel.name)
    key = session.session_key
    assert key is not None
    message.channel_session = session
    try:
        return proceed()
    finally:
        if message.channel.name == "websocket.disconnect":
            session.delete(key)
        else:
            _save(session, key)


def _with_http_session(message: Message, proceed: Callable[[], Any]) -> Any:
    if hasattr(message, "http_session"):
        return proceed()
    if "headers" not in message:
        raise ValueError(
            f"http_session needs headers, and the message on {message.channel.name!r} has "
            f"none: use it on websocket.connect or http.request, and keep what you need in "
            f"channel_session"
        )
    key = _session_cookie(message)
    session = None if key is None else _open_session(key, keep_key=False)
    message.http_session = session
    result = proceed()
    if session is not None and session.modified:
        session.save()
    return result


def _with_both_sessions(message: Message, proceed: Callable[[], Any]) -> Any:
    if "headers" in message:

        def remember() -> Any:
            if message.http_session is not None:
                message.channel_session[settings.SESSION_COOKIE_NAME] = (
                    message.http_session.session_key
                )
            return proceed()

        return _with_channel_session(message, lambda: _with_http_session(message, remember))

    def recall() -> Any:
        key = message.channel_session.get(settings.SESSION_COOKIE_NAME)
        session = message.http_session = key and _open_session(key, keep_key=False)
        result = proceed()
        if session is not None and session.modified:
            session.save()
        return result

    return _with_channel_session(message, recall)


def _session_cookie(message: Message) -> str | None:
    """The session key in the cookies of a message with headers."""
    cookies = "; ".join(
        value.decode("utf-8", "replace") for name, value in message["headers"] if name == b"cookie"
    )
    key: str | None = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME)
    return key or None


channel_session: Final = around(_with_channel_session)
"""Give a consumer C{message.channel_session}, the session of its connection.  It
is saved after the consumer when it was changed, and deleted after the consumer
of C{websocket.disconnect}."""

http_session: Final = around(_with_http_session)
"""Give a consumer C{message.http_session}, the session of the browser, or
L{None}.  It cannot begin one, since no cookie can be set here; a changed one is
saved unless the consumer raised."""

channel_and_http_session: Final = around(_with_both_sessions)
"""Give all consumers of a connection both: the browser's session is found again
by a note in the connection's own, so it is there after C{websocket.connect} too."""


def enforce_ordering(consumer: Wrapped | None = None, slight: bool = False) -> Any:
    """
    Return the consumer as it is.

    Consumers of one connection never overtake each other here: the interface
    server hands out an event when the one before it is done.  The decorator
    stays for sites that carry it.

    @param consumer: the consumer, when used without parentheses.
    @param slight: as it was.
    """
    return (lambda decorated: decorated) if consumer is None else consumer
