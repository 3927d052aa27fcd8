"""The benchmark of layers runs, and reports what it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.layers import report

ROOT = Path(__file__).resolve().parent.parent.parent


def test_it_measures_the_memory_layer() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.layers"),
            *("--only=memory", "--rounds=1", "--seconds=0.01"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sends, in batches of 100" in done.stdout
    assert "10,000 members in 1 process, messages" in done.stdout


def test_the_table_has_medians_and_a_dash_for_what_was_not_measured() -> None:
    figures = {("one", report.P50): [3.0, 1.0, 2.0], ("other", report.ONE_BY_ONE): [1234.0]}
    head, first, second = report.table(figures, ["one", "other"])
    assert head.split() == ["one", "other"]
    assert first.split()[-2:] == ["-", "1,234"]
    assert second.split()[-2:] == ["2", "-"]


def test_ratios_are_of_the_same_round_and_above_one_where_ours_is_better() -> None:
    rates = {("ours", report.BATCHES): [200.0, 90.0], ("other", report.BATCHES): [100.0, 100.0]}
    delays = {("ours", report.P50): [1.0, 1.0], ("other", report.P50): [2.0, 4.0]}
    _, batches, delay = report.ratios({**rates, **delays}, "ours", "other")
    assert batches.split()[-6:] == ["1.45", "x,", "at", "worst", "0.90", "x"]
    assert delay.split()[-6:] == ["3.00", "x,", "at", "worst", "2.00", "x"]


def test_messages_pushed_are_no_matter_of_ratios() -> None:
    pushes, _ = report.group_rows(10_000, 4)
    assert report.ratios({("a", pushes): [4.0], ("b", pushes): [4.0]}, "a", "b") == []
