"""
Channel layers: where messages wait between those who send and those who read.

Those that bring a driver along are imported when somebody asks for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from chanserv.layers.blocking import blocking_layer, face_of
from chanserv.layers.from_spec import make_layer
from chanserv.layers.memory import MemoryChannelLayer

if TYPE_CHECKING:
    from chanserv.layers.ipc.layer import IPCChannelLayer
    from chanserv.layers.redis.layer import RedisChannelLayer
    from chanserv.layers.redis_local import RedisLocalChannelLayer

__all__ = [
    "IPCChannelLayer",
    "MemoryChannelLayer",
    "RedisChannelLayer",
    "RedisLocalChannelLayer",
    "blocking_layer",
    "face_of",
    "make_layer",
]

_LATE: Final = {
    "IPCChannelLayer": "chanserv.layers.ipc.layer",
    "RedisChannelLayer": "chanserv.layers.redis.layer",
    "RedisLocalChannelLayer": "chanserv.layers.redis_local",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
