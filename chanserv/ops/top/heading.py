"""The lines at the top: how the whole system is."""

from __future__ import annotations

import time

from chanserv.ops.top import figures
from chanserv.ops.top.asker import Sample
from chanserv.ops.top.tallies import Tallies
from chanserv.ops.top.view import Piece, Style


def heading_of(sample: Sample, tallies: Tallies, layer: str, lately: float) -> list[list[Piece]]:
    """
    Say how the whole is, in three lines.

    @param lately: seconds over which rates are averaged.
    """
    glance = sample.glance
    first = [
        Piece("chanserv top", Style.TITLE),
        Piece(time.strftime("  %H:%M:%S", time.localtime(sample.time))),
        Piece(f"  {layer}"),
    ]
    if glance.problem:
        first.append(Piece("  does not answer", Style.BAD))
        second = [Piece(glance.problem, Style.BAD)]
    else:
        first.append(Piece(f"  round trip {figures.seconds(glance.round_trip)}"))
        second = _messages(sample, tallies, lately)
    return [first, second, _connections(sample, tallies, lately)]


def _messages(sample: Sample, tallies: Tallies, lately: float) -> list[Piece]:
    totals = sample.glance.totals
    pending, age = totals.get("messages_pending", 0), totals.get("messages_max_age", 0)
    line = [Piece(f"messages {figures.rate(tallies.rate(('total', 'messages_count'), lately))}/s")]
    line.append(Piece(f"  waiting {figures.count(pending)}"))
    if pending:
        oldest = f"  oldest {figures.seconds(age)}"
        line.append(Piece(oldest + _where_oldest(sample), Style.WARN if age else Style.PLAIN))
    for word, name in (
        ("full", "channel_full_count"),
        ("expired", "messages_expired_count"),
        ("lost", "messages_lost_count"),
    ):
        grown = tallies.rate(("total", name), lately)
        more = f" (+{figures.rate(grown)}/s)" if grown else ""
        text = f"  {word} {figures.count(totals.get(name))}{more}"
        line.append(Piece(text, Style.BAD if grown else Style.PLAIN))
    return line


def _where_oldest(sample: Sample) -> str:
    """On which channel the message waits that has waited longest, where that is known."""
    waiting = [
        (one.get("messages_max_age", 0), one.get("messages_pending", 0), name)
        for name, one in sample.glance.channels.items()
        if one.get("messages_pending", 0)
    ]
    return f" on {max(waiting)[2]}" if waiting else ""


def _connections(sample: Sample, tallies: Tallies, lately: float) -> list[Piece]:
    heard = sample.processes.values()
    if not heard:
        if sample.glance.problem:
            return []
        return [Piece("no process answers", Style.BAD)]
    counts = [one.snapshot.counts for one in heard if one.snapshot.counts is not None]
    workers = sum(len(one.snapshot.workers) for one in heard)

    def now(name: str) -> str:
        return figures.count(sum(one.get(name, 0) for one in counts))

    def each_second(name: str) -> str:
        return figures.rate(tallies.rate(("all", name), lately)) if counts else figures.UNKNOWN

    line = [
        Piece(f"{len(sample.processes)} process{'es' if len(sample.processes) != 1 else ''}"),
        Piece(
            f"  {workers} worker{'s' if workers != 1 else ''}",
            Style.PLAIN if workers else Style.BAD,
        ),
        Piece(f"  conns {now('connections_open')}"),
        Piece(f"  sockets {now('sockets_open')}"),
        Piece(f"  req {each_second('requests')}/s"),
        Piece(f"  frames {each_second('frames_in')}/s in"),
        Piece(f" {each_second('frames_out')}/s out"),
    ]
    if parked := sum(one.get("parked_now", 0) for one in counts):
        line.append(Piece(f"  parked {figures.count(parked)}", Style.WARN))
    if sample.members is not None and sample.members > len(sample.processes):
        missing = sample.members - len(sample.processes)
        line.insert(1, Piece(f" ({missing} more silent)", Style.WARN))
    return line
