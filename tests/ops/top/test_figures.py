"""Tests for C{chanserv.ops.top.figures}."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.ops.top import figures

INFINITY = float("inf")


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (None, "-"),
        (0, "0"),
        (7, "7"),
        (9999, "9999"),
        (10_000, "10k"),
        (12_345, "12.3k"),
        (999_400, "999k"),
        (4_000_000, "4M"),
        (12_345_678, "12.3M"),
        (2_500_000_000, "2.5G"),
    ],
)
def test_counts(number, shown) -> None:
    assert figures.count(number) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (None, "-"),
        (0, "0"),
        (0.004, "0.00"),
        (0.05, "0.05"),
        (3.14, "3.1"),
        (9.94, "9.9"),
        (99.9, "100"),
        (250.4, "250"),
    ],
)
def test_rates(number, shown) -> None:
    assert figures.rate(number) == shown


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.000_21, "0.2ms"),
        (0.0354, "35ms"),
        (0.9999, "1.0s"),
        (1.25, "1.2s"),
        (45.2, "45s"),
        (119.0, "119s"),
        (125.0, "2m"),
        (7200.0, "2h"),
        (200_000.0, "2d"),
        (INFINITY, ">60s"),
        # Ages that layers tell in whole seconds.
        (0, "0"),
        (4, "4s"),
        (600, "10m"),
    ],
)
def test_times(time, shown) -> None:
    assert figures.seconds(time) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 0, "-"),
        (0, 10, "0%"),
        (1, 1_000_000, "0.01%"),
        (3, 1000, "0.3%"),
        (1, 8, "12%"),
        (5, 5, "100%"),
    ],
)
def test_shares(part, whole, shown) -> None:
    assert figures.percent(part, whole) == shown


@given(st.floats(min_value=0, max_value=1e12))
def test_all_of_them_fit_their_columns(number) -> None:
    assert len(figures.count(number)) <= 6
    assert len(figures.rate(number)) <= 6
    assert len(figures.percent(min(number, 1e6), 1e6)) <= 5


@given(st.floats(min_value=0, max_value=86_400 * 999))
def test_times_fit_their_columns(number) -> None:
    assert len(figures.seconds(number)) <= 5
