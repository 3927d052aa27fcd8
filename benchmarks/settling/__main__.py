"""
Run it: C{python -m benchmarks.settling}.

Some WebSocket clients keep one message in flight each, which a consumer echoes.
Three ways of serving them take turns every half second, so that what the machine
does meanwhile is shared by all: ordered events, which wait for the one before to be settled;
C{--unordered}, which still asks for receipts; and a layer that gives none.
All processes of the server share one core, the clients have another; so the
ratio is that of the work done.  Their processor time is shown beside it, which
also holds on a machine that does something else.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from benchmarks.layers.stores import folder, redis_servers
from benchmarks.quick import load
from benchmarks.quick.servers import SITE

ROOT: Final = Path(__file__).resolve().parents[2]
BARE: Final = "benchmarks.settling.bare:layer"

WAYS: Final = ("ordered", "--unordered", "no receipts")
"""How a connection's events are handed out."""

MOST_LOST: Final = 0.15
"""The part of the throughput that order may cost at most."""

PATIENCE: Final = 30.0
"""Seconds for a process to be ready."""

TICKS: Final = os.sysconf("SC_CLK_TCK")
"""In how many parts of a second the system counts processor time."""


@dataclass(frozen=True)
class Figure:
    """
    One measurement.

    @ivar rate: round trips a second.
    @ivar cost: processor time of all processes of the server for one, in seconds.
    """

    rate: float
    cost: float


def main() -> int:
    """
    Measure, and print.

    @return: the exit code: 0, or 1 where order costs more than it may.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.settling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="the median of these is shown")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each measurement")
    parser.add_argument("--only", action="append", help="memory, ipc or redis; repeatable")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        print("There is one core only: the load takes from the servers what it uses.")
    os.sched_setaffinity(0, {cores[-1]})
    missed = False
    with folder() as where, redis_servers(where, 1) as sockets:
        # Each way has a store of its own, so that its processes keep to themselves.
        token = secrets.token_hex(4)
        layers = {"memory": "memory:", "ipc": f"ipc:bench-{token}-{{}}"}
        if sockets:
            layers["redis"] = f"redis+unix://{sockets[0]}?prefix=bench{{}}:"
        for name in options.only or layers:
            figures = measured(layers[name], options.rounds, options.seconds, cores[0], where)
            missed |= report(name, figures)
    return int(missed)


def measured(
    layer: str, rounds: int, seconds: float, core: int, where: Path
) -> dict[str, list[Figure]]:
    """The figures of each way, in each round; C{layer} has a place for a number."""
    figures: dict[str, list[Figure]] = {way: [] for way in WAYS}
    with ExitStack() as stack:
        servers = {
            way: stack.enter_context(serving(layer.format(number), way, core, where))
            for number, way in enumerate(WAYS)
        }
        for port, _ in servers.values():
            load.echo(port, 0.5)
        for number in range(rounds):
            # Nobody is always the first.
            for way in (*WAYS[number % 3 :], *WAYS[: number % 3]):
                port, pids = servers[way]
                before = _processor_seconds(pids)
                rate = load.echo(port, seconds).per_second
                spent = _processor_seconds(pids) - before
                figures[way].append(Figure(rate, spent / (rate * seconds)))
    return figures


def report(name: str, figures: dict[str, list[Figure]]) -> bool:
    """
    Print one layer's figures.

    @return: whether order costs more than it may.
    """
    ordered = figures["ordered"]
    print(f"{name}: echo round trips a second, median of {len(ordered)} rounds")
    for way in WAYS:
        rate = statistics.median(one.rate for one in figures[way])
        cost = statistics.median(one.cost for one in figures[way])
        ratios = _ratios(ordered, figures[way])
        print(
            f"  {way:12} {rate:8.0f}   ordered is {statistics.median(ratios):.2f} of it"
            f" ({min(ratios):.2f} to {max(ratios):.2f}); {cost * 1e6:.0f} us of processor each"
        )
    return statistics.median(_ratios(ordered, figures["--unordered"])) < 1 - MOST_LOST


def _ratios(some: list[Figure], others: list[Figure]) -> list[float]:
    """The rate of each, as a part of that of the other in the same round."""
    return [one.rate / other.rate for one, other in zip(some, others, strict=True)]


def _processor_seconds(pids: Sequence[int]) -> float:
    """What some processes have used so far, in the program and in the system."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


@contextmanager
def serving(layer: str, way: str, core: int, where: Path) -> Iterator[tuple[int, list[int]]]:
    """
    Serve the site of the other comparison until the block ends.

    @return: the port, and the ids of the processes.
    """
    port = _free_port()
    shared = not layer.startswith("memory:")
    listen = f"--listen=tcp:{port}:interface=127.0.0.1"
    site = "--settings=bench_site.settings_chanserv"
    how = [f"--layer={BARE if way == 'no receipts' else layer}"]
    if way == "--unordered":
        how.append(way)
    commands = [[listen, *how], ["--no-listen", site, *how]] if shared else [[listen, site, *how]]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        "PYTHONPATH": f"{SITE}:{ROOT}",
        "BENCH_LAYER": layer,
        "XDG_RUNTIME_DIR": str(where),
    }
    with ExitStack() as stack:
        pids = [stack.enter_context(_process(command, environment, core)) for command in commands]
        yield port, pids


@contextmanager
def _process(options: Sequence[str], environment: dict[str, str], core: int) -> Iterator[int]:
    """Run one C{twistd chanserv} that is ready, and end it with the block; give its id."""
    twistd = str(Path(sys.executable).parent / "twistd")
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(
            [twistd, "--nodaemon", "--pidfile=", "chanserv", *options],
            cwd=SITE,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            _wait_until_ready(process, log)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        printed = Path(log.name).read_text(errors="replace")
        if " is ready: " in printed:
            return
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"a server did not start; it printed:\n{printed}")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
