"""What is measured, of one layer at a time, by processes that run it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final, TypeAlias

from benchmarks.layers import report
from benchmarks.layers.processes import Process, ask_all

CROWD: Final = 2 + max(spread for _, spread in report.GROUPS)
"""Processes that are needed for the largest: a host, a sender, and readers."""

SENDERS: Final = 50
"""Senders at once that each wait for their own send: what a busy worker team has."""

BATCH: Final = 100
"""Sends in a batch."""

DELAYS: Final = 150
"""Messages whose delay is measured in a round."""


Program: TypeAlias = tuple[str, ...]
"""A command line."""

CHANSERV: Final[Program] = (sys.executable, "-m", "benchmarks.layers.chanserv_process")
"""What the processes over a layer of chanserv run."""


@dataclass(frozen=True)
class Layer:
    """
    A layer to measure.

    @ivar spec: what C{--layer} would be.
    @ivar program: what its processes run.
    @ivar in_one_process: whether it reaches no further than that.
    @ivar batches: whether it has any.
    @ivar counts: whether it can say how many messages it was given.
    @ivar once: whether one round is enough: it takes as long as all others together.
    @ivar broadcasts: group messages of a round, one after the other.
    """

    name: str
    spec: str
    program: Program = CHANSERV
    in_one_process: bool = False
    batches: bool = True
    counts: bool = True
    once: bool = False
    broadcasts: int = 5


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
    yield ask_all(cast.readers[:readers], "read", layer.name)
    ask_all(everyone[1:], "close", layer.name)
    cast.host.ask("close", layer.name)


def measure_sends(layer: Layer, cast: Cast, seconds: float) -> dict[report.Row, float]:
    """One round of sending, from one process to one other."""
    sender, reader, name = cast.sender, cast.readers[0], layer.name
    figures = {}
    with opened(layer, cast, 1) as (mailbox,):
        kinds: list[tuple[report.Row, str, int]] = [
            (report.ONE_BY_ONE, "send_one_by_one", 1),
            (report.AT_ONCE, "send_one_by_one", SENDERS),
        ]
        if layer.batches:
            kinds.append((report.BATCHES, "send_batches", BATCH))
        for row, order, many in kinds:
            count, begun = sender.ask(order, name, mailbox, seconds, many)
            figures[row] = count / (reader.ask("reached", name, count) - begun)
        sender.ask("send_slowly", name, mailbox, DELAYS)
        delays = sorted(reader.ask("delays", name, DELAYS))
        figures[report.P50] = delays[len(delays) // 2] * 1e6
        figures[report.P99] = delays[int(len(delays) * 0.99)] * 1e6
    return figures


def measure_group(layer: Layer, cast: Cast, members: int, spread: int) -> dict[report.Row, float]:
    """Some messages to a group with so many members in so many processes: the median."""
    sender, readers, name = cast.sender, cast.readers[:spread], layer.name
    pushes, times = report.group_rows(members, spread)
    figures = {}
    milliseconds = []
    with opened(layer, cast, spread):
        ask_all(readers, "join", name, "group", members // spread)
        before = sender.ask("messages", name) if layer.counts else 0
        for number in range(layer.broadcasts):
            sender.ask("send_group", name, "group", number)
            heard = ask_all(readers, "heard", name, number, members // spread)
            milliseconds.append(max(heard) * 1e3)
        if layer.counts:
            figures[pushes] = (sender.ask("messages", name) - before) / layer.broadcasts
    figures[times] = median(milliseconds)
    return figures


def measure(
    layers: Sequence[Layer],
    processes: Mapping[Program, Sequence[Process]],
    rounds: int,
    seconds: float,
) -> report.Figures:
    """All that there is to know, the layers in turn, so that noise troubles them alike."""
    figures: report.Figures = {}
    for number in range(1, rounds + 1):
        for layer in layers:
            if layer.once and number > 1:
                continue
            print(f"round {number} of {rounds}: {layer.name}", file=sys.stderr)
            for row, figure in _round(layer, cast_of(layer, processes[layer.program]), seconds):
                figures.setdefault((layer.name, row), []).append(figure)
    return figures


def _round(layer: Layer, cast: Cast, seconds: float) -> Iterator[tuple[report.Row, float]]:
    yield from measure_sends(layer, cast, seconds).items()
    for members, spread in report.GROUPS:
        if spread <= len(cast.readers):
            yield from measure_group(layer, cast, members, spread).items()
