"""What children of C{multiprocessing} run: they import it by its name."""

from __future__ import annotations

import sys

from chanserv.layers import blocking_layer
from tests.blocking.layers import TIED


def use_a_layer() -> None:
    layer = blocking_layer(TIED)
    layer.send("a", {"number": 1})
    sys.stdout.write(f"{layer.receive(['a'])}\n")
    sys.stdout.flush()
