"""
A layer without receipts, for C{--layer=benchmarks.settling.bare:layer}: what the
bare spec costs on the layer that the environment names.
"""

from __future__ import annotations

import os
from typing import Any

from chanserv.layers.from_spec import make_layer
from chanserv.testing.fakes import BareLayer


def _layer() -> Any:
    from twisted.internet import reactor

    layer = BareLayer(make_layer(os.environ["BENCH_LAYER"], reactor))
    layer.within_process = os.environ["BENCH_LAYER"].startswith("memory:")
    return layer


layer = _layer()
"""What the option names."""
