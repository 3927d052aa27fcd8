"""Who is speaking: a logged-in user, or whoever chose a name in this session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.crypto import salted_hmac

from chat.models import MAX_NAME

SESSION_KEY = "chat-name"


@dataclass(frozen=True)
class Visitor:
    """
    One person, as the others see them.

    @ivar name: what they are called.  Two may have the same name.
    @ivar author: tells them apart: 12 hexadecimal digits, the same as long as
        the session (or the account) lasts, from which neither can be guessed.
    """

    name: str
    author: str


def visitor_of(session: Any, user: Any) -> Visitor | None:
    """
    The visitor of a request or a socket; L{None} where no name was chosen yet.

    @param session: the Django session.
    @param user: the Django user, perhaps anonymous.
    """
    if user is not None and user.is_authenticated:
        return Visitor(user.get_username()[:MAX_NAME], _digest(f"user {user.pk}"))
    name = session.get(SESSION_KEY) if session is not None else None
    if not name:
        return None
    return Visitor(name, _digest(f"session {session.session_key}"))


def _digest(identity: str) -> str:
    return salted_hmac("chat.visitors", identity, algorithm="sha256").hexdigest()[:12]
