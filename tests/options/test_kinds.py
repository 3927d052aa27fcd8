"""Tests for C{chanserv.options.kinds}."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.options.kinds import read_count, read_duration, read_size, show_duration, show_size


class TestValues:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("0", 0),
            ("512", 512),
            ("64K", 65536),
            ("10M", 10 * 2**20),
            ("1g", 2**30),
            ("10MB", 10 * 2**20),
            ("10MiB", 10 * 2**20),
            ("100B", 100),
        ],
    )
    def test_sizes_are_bytes_or_have_a_binary_unit(self, text: str, size: int) -> None:
        assert read_size(text) == size

    @pytest.mark.parametrize("text", ["", "10X", "-1", "1.5M", "M", "ten", "1 M", "9" * 20, "٣"])
    def test_other_sizes_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not a size"):
            read_size(text)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("30", 30),
            ("1.5", 1.5),
            ("500ms", 0.5),
            ("30s", 30),
            ("2m", 120),
            ("1h", 3600),
            ("1d", 86400),
            ("0", 0),
        ],
    )
    def test_times_are_seconds_or_have_a_unit(self, text: str, seconds: float) -> None:
        assert read_duration(text) == seconds

    @pytest.mark.parametrize("text", ["", "abc", "-1", "1w", "inf", "nan", "1e3", "1 s"])
    def test_other_times_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not a time"):
            read_duration(text)

    @pytest.mark.parametrize("text", ["", "x", "1.5", "1_000", "0x10"])
    def test_counts_are_whole_numbers(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not a whole number"):
            read_count(text)

    @given(st.integers(0, 10**12))
    def test_a_size_is_shown_as_it_can_be_read(self, size: int) -> None:
        assert read_size(show_size(size)) == size

    @pytest.mark.parametrize("seconds", [0, 0.02, 0.5, 1, 1.5, 30, 120, 86400])
    def test_a_time_is_shown_as_it_can_be_read(self, seconds: float) -> None:
        assert read_duration(show_duration(seconds)) == pytest.approx(seconds)
