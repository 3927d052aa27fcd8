"""A process for tests: stands on the roll of the layer named, and says under which channel."""

from __future__ import annotations

import sys


def main() -> None:
    from twisted.internet import reactor

    from chanserv.layers import make_layer
    from chanserv.worker.roll import Roll

    layer = make_layer(sys.argv[1], reactor)
    if hasattr(layer, "rather_be_a_guest"):
        layer.rather_be_a_guest()
    roll = Roll(layer, reactor)
    reactor.callWhenRunning(roll.join)
    sys.stdout.write(f"{roll.channel}\n")
    sys.stdout.flush()
    # Should the tests die, nobody else ends it.
    reactor.callLater(600, reactor.stop)
    reactor.run()


if __name__ == "__main__":
    main()
