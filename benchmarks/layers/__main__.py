"""Run the benchmark of channel layers: C{python -m benchmarks.layers}."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.layers import report
from benchmarks.layers.processes import DidNotAnswer, Process, ask_all, started
from benchmarks.layers.stores import folder, redis_servers

MEMBERS: Final = 10_000
"""Members of the group."""

PROCESSES: Final = (1, 4, 16)
"""How many processes they are spread over."""

SENDERS: Final = 50
"""Senders at once that each wait for their own send: what a busy worker team has."""

BATCH: Final = 100
"""Sends in a batch."""

DELAYS: Final = 150
"""Messages whose delay is measured in a round."""

BROADCASTS: Final = 5
"""Group messages of a round, one after the other."""


@dataclass(frozen=True)
class Layer:
    """
    A layer to measure.

    @ivar spec: what C{--layer} would be.
    @ivar in_one_process: whether it reaches no further than that.
    """

    name: str
    spec: str
    in_one_process: bool = False


@dataclass(frozen=True)
class Cast:
    """
    Who does what.

    @ivar host: has the layer first, and does nothing.
    """

    host: Process
    sender: Process
    readers: Sequence[Process]


def cast_of(layer: Layer, processes: Sequence[Process]) -> Cast:
    """The parts in the play of C{layer}."""
    if layer.in_one_process:
        return Cast(processes[0], processes[0], processes[:1])
    return Cast(processes[0], processes[1], processes[2:])


@contextmanager
def opened(layer: Layer, cast: Cast, readers: int) -> Iterator[list[str]]:
    """The layer, open in all who need it; the mailboxes of the readers."""
    everyone = list(dict.fromkeys([cast.host, cast.sender, *cast.readers[:readers]]))
    cast.host.ask("open", layer.name, layer.spec)
    ask_all(everyone[1:], "open", layer.name, layer.spec)
    try:
        yield ask_all(cast.readers[:readers], "read", layer.name)
    finally:
        ask_all(everyone[::-1], "close", layer.name)


def measure_sends(layer: Layer, cast: Cast, seconds: float) -> dict[report.Row, float]:
    """One round of sending, from one process to one other."""
    sender, reader, name = cast.sender, cast.readers[0], layer.name
    figures = {}
    with opened(layer, cast, 1) as (mailbox,):
        for row, order, more in (
            (report.ONE_BY_ONE, "send_one_by_one", ()),
            (report.AT_ONCE, "send_one_by_one", (SENDERS,)),
            (report.BATCHES, "send_batches", (BATCH,)),
        ):
            count, begun = sender.ask(order, name, mailbox, seconds, *more)
            figures[row] = count / (reader.ask("reached", name, count) - begun)
        sender.ask("send_slowly", name, mailbox, DELAYS)
        delays = sorted(reader.ask("delays", name, DELAYS))
        figures[report.P50] = delays[len(delays) // 2] * 1e6
        figures[report.P99] = delays[int(len(delays) * 0.99)] * 1e6
    return figures


def measure_group(layer: Layer, cast: Cast, members: int, spread: int) -> tuple[float, float]:
    """
    Some messages to a group with so many members in so many processes.

    @return: messages pushed for one of them, and the milliseconds until the last
        member has it: the median.
    """
    readers, name = cast.readers[:spread], layer.name
    with opened(layer, cast, spread):
        ask_all(readers, "join", name, "group", members // spread)
        before = cast.sender.ask("messages", name)
        times = []
        for number in range(BROADCASTS):
            cast.sender.ask("send_group", name, "group", number)
            heard = ask_all(readers, "heard", name, number, members // spread)
            times.append(max(seconds for _, seconds in heard) * 1e3)
        pushed = (cast.sender.ask("messages", name) - before) / BROADCASTS
    return pushed, sorted(times)[BROADCASTS // 2]


def measure(
    layers: Sequence[Layer], processes: Sequence[Process], rounds: int, seconds: float
) -> report.Figures:
    """All that there is to know, the layers in turn, so that noise troubles them alike."""
    figures: report.Figures = {}
    groups = [(1, 1), *((MEMBERS, spread) for spread in PROCESSES)]
    for number in range(1, rounds + 1):
        for layer in layers:
            print(f"round {number} of {rounds}: {layer.name}", file=sys.stderr)
            cast = cast_of(layer, processes)
            for row, figure in measure_sends(layer, cast, seconds).items():
                figures.setdefault((layer.name, row), []).append(figure)
            for members, spread in groups:
                if spread > len(cast.readers):
                    continue
                pushed, milliseconds = measure_group(layer, cast, members, spread)
                pushes, times = report.group_rows(members, spread)
                figures.setdefault((layer.name, pushes), []).append(pushed)
                figures.setdefault((layer.name, times), []).append(milliseconds)
    return figures


def layers_over(where: Path, sockets: Sequence[Path]) -> list[Layer]:
    """Every layer that can be had."""
    found = [
        Layer("memory", "memory:", in_one_process=True),
        Layer("IPC", f"ipc:bench?directory={where}"),
    ]
    urls = [f"redis+unix://{socket}" for socket in sockets]
    if urls:
        found += [Layer("Redis", urls[0]), Layer("Redis, 3 shards", ",".join(urls[1:]))]
    return found


def main() -> int:
    """
    Measure and print.

    @return: the exit code: 2 when something did not work.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="the median of these is shown")
    parser.add_argument("--seconds", type=float, default=0.4, help="for each kind of sending")
    parser.add_argument("--only", action="append", help="the name of a layer; repeatable")
    options = parser.parse_args()

    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(f"The machine is busy (load {busy:.1f}): take the figures with care.")
    begun = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.layers.chanserv_process"]
    with folder() as where, redis_servers(where, 4) as sockets:
        layers = [
            layer
            for layer in layers_over(where, sockets)
            if not options.only or layer.name in options.only
        ]
        if not sockets:
            print("There is no redis-server: only what needs none is measured.")
        count = 1 if all(layer.in_one_process for layer in layers) else 2 + max(PROCESSES)
        try:
            with started(count, command) as processes:
                figures = measure(layers, processes, options.rounds, options.seconds)
        except DidNotAnswer as problem:
            print(f"void: {problem}")
            return 2
    names = [layer.name for layer in layers]
    for line in report.table(figures, names):
        print(line)
    for line in report.ratios(figures, "IPC", "Redis"):
        print(line)
    print(f"medians of {options.rounds} rounds, {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
