"""Run the comparison: C{python -m benchmarks.quick --peers .venv-bench/bin}."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks.quick import load, report
from benchmarks.quick.frames import WrongAnswer
from benchmarks.quick.servers import CHANSERV, GUNICORN, UVICORN, DidNotStart, Server, running

SERVERS = {"uvicorn": UVICORN, "gunicorn": GUNICORN, "chanserv": CHANSERV}


def cores() -> tuple[int, int]:
    """The core of the servers, and that of the load."""
    free = sorted(os.sched_getaffinity(0))
    if len(free) == 1:
        print("There is one core only: the load takes from the servers what it uses.")
    return free[0], free[-1]


def measure(server: Server, programs: Path, core: int, seconds: float, out: report.Figures) -> None:
    """Start a server, take every measurement of it, and end it."""

    def note(row: report.Row, figure: float) -> None:
        out.setdefault((server.name, row), []).append(figure)

    with running(server, programs, core) as process:
        if server.sockets:
            # First of all: what a server has once used and freed would hide the cost.
            note(report.IDLE, load.idle_kilobytes(process.port, process.kilobytes))
        load.http(process.port, 1.0)
        rate = load.http(process.port, seconds)
        note(report.HTTP, rate.per_second)
        note(report.HTTP_P99, rate.p99 * 1000)
        if server.sockets:
            rate = load.echo(process.port, seconds)
            note(report.ECHO, rate.per_second)
            note(report.ECHO_P99, rate.p99 * 1000)
            note(report.GROUP, load.group(process.port, seconds, at_once=1).per_second)
            note(report.GROUP_20, load.group(process.port, seconds, at_once=20).per_second)


def main() -> int:
    """
    Compare, and print.

    A round in which a peer failed is left out; one in which we did ends it all.

    @return: the exit code: 0, 1 when a ratio is not what we want, 2 when there is none.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quick", description=__doc__)
    parser.add_argument("--peers", type=Path, required=True, help="the bin folder of the peers")
    parser.add_argument("--rounds", type=int, default=5, help="the median of these is shown")
    parser.add_argument("--seconds", type=float, default=1.5, help="for each measurement")
    parser.add_argument("--only", choices=sorted(SERVERS), action="append", help="repeatable")
    options = parser.parse_args()

    server_core, load_core = cores()
    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(f"The machine is busy (load {busy:.1f}): take the figures with care.")
    os.sched_setaffinity(0, {load_core})
    chosen = [SERVERS[name] for name in options.only or SERVERS]
    figures: report.Figures = {}
    begun = time.monotonic()
    for number in range(1, options.rounds + 1):
        for server in chosen:
            print(f"round {number} of {options.rounds}: {server.name}", file=sys.stderr)
            own = Path(sys.executable).parent
            programs = own if server is CHANSERV else options.peers.absolute()
            measured: report.Figures = {}
            try:
                measure(server, programs, server_core, options.seconds, measured)
            except (WrongAnswer, DidNotStart) as problem:
                print(f"{server.name}, round {number}: void: {problem}")
                if server is CHANSERV:
                    return 2
                continue
            for key, values in measured.items():
                figures.setdefault(key, []).extend(values)
    for line in report.table(
        figures, [server.name for server in chosen], CHANSERV.name, UVICORN.name
    ):
        print(line)
    print(f"one core each, medians of {options.rounds} rounds, {time.monotonic() - begun:.0f} s")
    if UVICORN in chosen and (UVICORN.name, report.IDLE) not in figures:
        print(f"{UVICORN.name} failed in every round: there is nothing to compare with")
        return 2
    return 1 if report.missed(figures, CHANSERV.name, UVICORN.name) else 0


if __name__ == "__main__":
    sys.exit(main())
