"""
The dot in the foot of every page: is the socket open, and who answers?

The page sends a beat now and then, and a worker answers with its process and
thread: watch it change when workers are restarted, while the socket stays.
"""

from __future__ import annotations

import json
import os
import threading

from chanserv.django import DenyConnection, Message, allowed_hosts_only


@allowed_hosts_only
def begin(message: Message) -> None:
    """Accept the socket, and show it who did."""
    message.reply_channel.send({"accept": True, "text": _sign_of_life()})


def beat(message: Message) -> None:
    """Answer one beat."""
    message.reply_channel.send({"text": _sign_of_life()})


def refuse(message: Message) -> None:
    """Refuse a socket on a path where there is nothing."""
    raise DenyConnection(f"there is no socket at {message.content['path']}")


def _sign_of_life() -> str:
    return json.dumps({"pid": os.getpid(), "thread": threading.current_thread().name})
