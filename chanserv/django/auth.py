"""
Users for consumers, found through their sessions.

The usual pair: C{channel_session_user_from_http} on C{websocket.connect}, which
carries the user over from the browser's session, and C{channel_session_user} on
the others.  Each gives C{message.user}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.contrib import auth
from django.contrib.sessions.backends.base import SessionBase
from django.utils.functional import SimpleLazyObject

from chanserv.django.decorators import Wrapped, around
from chanserv.django.message import Message
from chanserv.django.sessions import channel_and_http_session, channel_session, http_session

_USER_KEYS: Final = (auth.SESSION_KEY, auth.BACKEND_SESSION_KEY, auth.HASH_SESSION_KEY)


class _SessionHolder:
    """As much of a request as Django's C{get_user} looks at."""

    def __init__(self, session: SessionBase) -> None:
        self.session = session


def user_of(session: SessionBase | None) -> Any:
    """The user logged in with C{session}; C{AnonymousUser} where nobody is."""
    if session is None:
        from django.contrib.auth.models import AnonymousUser

        return AnonymousUser()
    return auth.get_user(_SessionHolder(session))  # type: ignore[arg-type]


def transfer_user(from_session: SessionBase, to_session: SessionBase) -> None:
    """
    Make the user of one session that of another too.

    @param from_session: where to look for a user.
    @param to_session: nobody is logged in there, where nobody is in the first.
    """
    for key in _USER_KEYS:
        if key in from_session:
            to_session[key] = from_session[key]
        else:
            to_session.pop(key, None)


def _with_channel_user(message: Message, proceed: Callable[[], Any]) -> Any:
    if not hasattr(message, "user"):
        message.user = SimpleLazyObject(lambda: user_of(message.channel_session))
    return proceed()


def _with_http_user(message: Message, proceed: Callable[[], Any]) -> Any:
    if not hasattr(message, "user"):
        message.user = SimpleLazyObject(lambda: user_of(message.http_session))
    return proceed()


def _with_transferred_user(message: Message, proceed: Callable[[], Any]) -> Any:
    if message.http_session is not None:
        transfer_user(message.http_session, message.channel_session)
    return _with_http_user(message, proceed)


def channel_session_user(consumer: Wrapped) -> Wrapped:
    """Give a consumer the user of its connection's session, and that session."""
    return channel_session(around(_with_channel_user)(consumer))


def http_session_user(consumer: Wrapped) -> Wrapped:
    """Give a consumer the user of the browser's session, and that session."""
    return http_session(around(_with_http_user)(consumer))


def channel_session_user_from_http(consumer: Wrapped) -> Wrapped:
    """
    Carry the user over from the browser's session to the connection's.

    For C{websocket.connect}.
    """
    return http_session(channel_session(around(_with_transferred_user)(consumer)))


def channel_and_http_session_user_from_http(consumer: Wrapped) -> Wrapped:
    """
    Give all consumers of a connection the browser's session and its user.

    For C{websocket.connect} and the consumers after it.
    """
    return channel_and_http_session(around(_with_http_user)(consumer))
