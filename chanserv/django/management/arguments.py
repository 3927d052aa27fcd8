"""What options of the commands may be."""

from __future__ import annotations

from argparse import ArgumentTypeError


def positive(text: str) -> int:
    """
    Read a whole number above 0.

    @raise ArgumentTypeError: it is none.
    """
    return _whole(text, 1)


def natural(text: str) -> int:
    """
    Read a whole number from 0 up.

    @raise ArgumentTypeError: it is none.
    """
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < least:
        raise ArgumentTypeError(f"{text!r} is not a whole number from {least} up")
    return int(text)
