"""
A process that receives without end, and says what it gets.

Run with the directory of a layer, a channel, a limit, and a word: C{fork} has it
fork a child first, which then sleeps.  Each line of its output is C{ready}, or
how many messages have come and how many bytes of C{body} they had.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from twisted.internet import reactor  # noqa: TID253
from twisted.internet.defer import ensureDeferred

from chanserv.layers.ipc import IPCChannelLayer

PATIENCE = 60.0
"""Seconds for what a slow machine does late."""


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def receive(directory: str, channel: str, limit: str, word: str) -> None:
    layer: Any = IPCChannelLayer(
        reactor, directory=directory, patience=PATIENCE, answer_timeout=PATIENCE
    )
    await layer.global_statistics()
    child = 0
    if word == "fork":
        child = os.fork()
        if not child:
            time.sleep(600)
            os._exit(0)
    say("ready", layer._seat.state.name, child)
    while True:
        got = await layer.receive([channel], int(limit))
        for delivery in got:
            delivery.settle()
        say(len(got), sum(len(delivery.message.get("body", b"")) for delivery in got))


def main() -> None:
    def ended(failure: Any) -> None:
        failure.printTraceback(sys.stderr)
        reactor.stop()  # type: ignore[attr-defined]

    reactor.callWhenRunning(  # type: ignore[attr-defined]
        lambda: ensureDeferred(receive(*sys.argv[1:])).addErrback(ended)
    )
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
