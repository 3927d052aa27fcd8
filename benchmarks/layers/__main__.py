"""Run the benchmark of channel layers: C{python -m benchmarks.layers}."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.layers import report
from benchmarks.layers.play import CROWD, Layer, measure
from benchmarks.layers.processes import DidNotAnswer, started
from benchmarks.layers.stores import folder, redis_servers


def layers_over(where: Path, sockets: Sequence[Path], peers: Path | None) -> list[Layer]:
    """
    Every layer that can be had.

    @param where: a folder for sockets.
    @param sockets: of Redis servers: none, or five.
    @param peers: the Python of an environment with C{channels_redis}.
    """
    found = [
        Layer("memory", "memory:", in_one_process=True),
        Layer("IPC", f"ipc:bench?directory={where}"),
    ]
    if sockets:
        first, *shards, last = sockets
        urls = [f"redis+unix://{socket}" for socket in shards]
        found.append(Layer("Redis", f"redis+unix://{first}"))
        found.append(Layer(f"Redis, {len(urls)} shards", ",".join(urls)))
        if peers is not None:
            found.append(
                Layer(
                    "channels_redis",
                    f"unix://{last}",
                    (str(peers), "-m", "benchmarks.layers.peer_process"),
                    batches=False,
                    counts=False,
                    once=True,
                    broadcasts=3,
                )
            )
    return found


def main() -> int:
    """
    Measure and print.

    @return: the exit code: 2 when something did not work.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    parser.add_argument("--peers", type=Path, help="the Python that has channels_redis")
    parser.add_argument("--rounds", type=int, default=3, help="the median of these is shown")
    parser.add_argument("--seconds", type=float, default=0.4, help="for each kind of sending")
    parser.add_argument("--only", action="append", help="the name of a layer; repeatable")
    options = parser.parse_args()

    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(f"The machine is busy (load {busy:.1f}): take the figures with care.")
    begun = time.monotonic()
    with ExitStack() as stack:
        where = stack.enter_context(folder())
        sockets = stack.enter_context(redis_servers(where, 5))
        if not sockets:
            print("There is no redis-server: only what needs none is measured.")
        layers = [
            layer
            for layer in layers_over(where, sockets, options.peers)
            if not options.only or layer.name in options.only
        ]
        try:
            crowds = {
                program: stack.enter_context(started(_needed(program, layers), program))
                for program in dict.fromkeys(layer.program for layer in layers)
            }
            figures = measure(layers, crowds, options.rounds, options.seconds)
        except DidNotAnswer as problem:
            print(f"void: {problem}")
            return 2
    for line in report.table(figures, [layer.name for layer in layers]):
        print(line)
    for line in report.ratios(figures, "IPC", "Redis"):
        print(line)
    print(f"medians of {options.rounds} rounds, {time.monotonic() - begun:.0f} s")
    return 0


def _needed(program: tuple[str, ...], layers: Sequence[Layer]) -> int:
    """How many processes of a program take part."""
    alone = all(layer.in_one_process for layer in layers if layer.program == program)
    return 1 if alone else CROWD


if __name__ == "__main__":
    sys.exit(main())
