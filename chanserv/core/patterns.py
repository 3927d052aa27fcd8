"""Sets of channel names, given by patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from typing import Final, TypeAlias

from chanserv.errors import ConfigurationError

Pattern: TypeAlias = "str | re.Pattern[str]"
"""A glob (C{websocket.*}) or a compiled regular expression."""

_KNOWN_NAMES: Final = 1_024
"""Names whose answer is remembered: more than a site has channels, and no more
than a hostile one could fill memory with."""


def matcher(option: str, pattern: object) -> Callable[[str], object]:
    """
    Make the test whether a name matches C{pattern}.

    A glob matches the whole name; a regular expression matches from its start,
    as C{re.Pattern.match} does.

    @param option: where the pattern was given, for the error.
    @raise ConfigurationError: C{pattern} is neither.
    """
    if isinstance(pattern, str):
        return re.compile(translate(pattern)).match
    if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
        return pattern.match
    raise ConfigurationError(
        f"{option}: {pattern!r} is no pattern: use a glob such as 'websocket.*', "
        f"or a compiled regular expression over str"
    )


class NamePatterns:
    """
    The names that match any of some patterns.

    It is false where there are none, so that a hot path asks no further.
    """

    __slots__ = ("_known", "_matchers")

    def __init__(self, option: str, patterns: Iterable[Pattern] | None = None) -> None:
        """
        @param option: where the patterns were given, for the error.
        @raise ConfigurationError: there is one that is no pattern, or a single
            one where a list of them belongs.
        """
        if isinstance(patterns, (str, bytes, re.Pattern)) or not isinstance(
            patterns, Iterable | None
        ):
            raise ConfigurationError(f"{option} must be a list of patterns, not {patterns!r}")
        self._matchers = [matcher(option, one) for one in patterns or ()]
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._matchers)

    def __contains__(self, name: str) -> bool:
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= _KNOWN_NAMES:
                self._known = {}
            known = self._known[name] = any(matches(name) for matches in self._matchers)
        return known


class RedeliveredNames(NamePatterns):
    """
    The channels whose messages are handed out again when their reader dies.

    Those of one process (with a C{!}) are never among them, whatever the patterns say:
    nobody else reads them, and what their process could not use, such as the reply to a
    client that has left, it would be handed again and again.
    """

    __slots__ = ()

    def __init__(self, patterns: Iterable[Pattern] | None = None) -> None:
        """
        @raise ConfigurationError: as above.
        """
        super().__init__("redeliver", patterns)

    def __contains__(self, name: str) -> bool:
        return "!" not in name and super().__contains__(name)
