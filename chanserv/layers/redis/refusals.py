"""What a server's error replies mean for the layer, and for its operator."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from chanserv.errors import ChannelLayerError, LayerUnavailable


class Refused(LayerUnavailable):
    """
    The server is there, but will not do it.

    @ivar code: the code of its error; C{ERR} where it has no other.
    @ivar lasting: whether it stays so until somebody mends it.
    """

    def __init__(self, message: str, code: str = "ERR", lasting: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.lasting = lasting


class _Meaning(NamedTuple):
    text: str
    ends_connection: bool = False
    lasting: bool = False


_CLUSTER: Final = _Meaning(
    "it is a node of a cluster, which is not supported: give plain servers as shards", lasting=True
)
_NO_RIGHTS: Final = _Meaning(
    "its ACL does not let this user do that: give it the rights that the layer needs", lasting=True
)

_MEANINGS: Final = {
    # There may be another master, or this one has changed: look again.
    "READONLY": _Meaning("it is a replica, and takes no writes", ends_connection=True),
    "MASTERDOWN": _Meaning("it is a replica whose master is down", ends_connection=True),
    "LOADING": _Meaning("it is still loading its data", ends_connection=True),
    "NOAUTH": _Meaning(
        "it wants a password: give one in the URL, or in connection_kwargs",
        ends_connection=True,
        lasting=True,
    ),
    "WRONGPASS": _Meaning("it refuses the user or the password", lasting=True),
    "DENIED": _Meaning("it is in protected mode: give it a password", lasting=True),
    "NOPERM": _NO_RIGHTS,
    "OOM": _Meaning(
        "it has no memory left: raise its maxmemory, or look for channels that nobody reads"
    ),
    "BUSY": _Meaning("it is busy with a script"),
    "MISCONF": _Meaning("it cannot save its data, and takes no writes: see its log"),
    "NOREPLICAS": _Meaning("it has too few replicas to take writes (min-replicas-to-write)"),
    "NOSCRIPT": _Meaning("it has forgotten a script"),
    "CLUSTERDOWN": _CLUSTER,
    "CROSSSLOT": _CLUSTER,
    "MOVED": _CLUSTER,
}
"""What an error's code says."""

_TEXTS: Final = (
    ("max number of clients", _Meaning("it has as many clients as it may: raise its maxclients")),
    ("can't run this command", _NO_RIGHTS),
    ("can't access at least one", _NO_RIGHTS),
    ("DB index is out of range", _Meaning("it has no database of that number", lasting=True)),
)
"""Errors without a code of their own, known by their text."""

_FOREIGN_KEY: Final = "WRONGTYPE"
"""The code when a key is of a kind that the layer never gave it."""

LONGEST_TEXT: Final = 200
"""Characters of a server's error that are shown: some hold whole commands."""


class Refusal(NamedTuple):
    """
    An error reply, translated.

    @ivar error: what the command fails with.
    @ivar ends_connection: whether it is no use to send more on this connection.
    """

    error: ChannelLayerError
    ends_connection: bool

    @classmethod
    def of(cls, text: str, name: str) -> Refusal:
        """
        Translate C{text} from the server C{name}.

        Where a command of a script failed, servers before 7 put its error
        into that of the script.
        """
        found = re.search(r"@user_script: ?\d+: -?([A-Z]{3,})\b", text) or re.match(
            r"-?([A-Z]{3,})\b", text
        )
        code = found[1] if found else "ERR"
        meaning = _MEANINGS.get(code)
        if meaning is None:
            meaning = next((meaning for known, meaning in _TEXTS if known in text), None)
        shown = _shortened(text)
        if meaning is not None:
            refused = Refused(f"Redis {name}: {meaning.text} ({shown})", code, meaning.lasting)
            return cls(refused, meaning.ends_connection)
        if code == _FOREIGN_KEY:
            hint = "a key of another program has the layer's prefix: choose another prefix"
            return cls(ChannelLayerError(f"Redis {name}: {hint} ({shown})"), False)
        return cls(ChannelLayerError(f"Redis {name} answers: {shown}"), False)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_TEXT else f"{line[:LONGEST_TEXT]}…"
