"""Tests for C{chanserv.ops.top.terminal}, on real terminals that nobody sits at."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from unittest import TestCase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.ops.top.terminal import DEFAULT_SIZE, Terminal, keys_in, painted
from chanserv.ops.top.view import Piece, Style


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"q", ["q"]),
        (b"wWp ", ["w", "W", "p", " "]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA\x1b[5~\x1b[6~", ["up", "page up", "page down"]),
        # Keys without a meaning, and one letter after them.
        (b"\x1b[15~\x1b[1;5Cq", ["q"]),
        (b"\x00\x7f\xc3\xa4\x1b", []),
        (b"", []),
    ],
)
def test_keys_are_told_apart(typed, keys) -> None:
    assert keys_in(typed) == keys


@given(st.binary())
def test_whatever_is_typed_is_heard_without_complaint(typed) -> None:
    assert all(key.isprintable() for key in keys_in(typed))


def test_colours_are_left_out_where_nobody_wants_them() -> None:
    lines = [[Piece("chanserv", Style.TITLE), Piece("bad", Style.BAD)]]
    assert "\x1b[1;31mbad\x1b[m" in painted(lines, colour=True)
    plain = painted(lines, colour=False)
    assert "31" not in plain
    assert "\x1b[1mchanserv\x1b[m" in plain


def test_what_stood_there_before_is_gone() -> None:
    assert painted([[Piece("a")], []], colour=True) == "\x1b[Ha\x1b[m\x1b[K\r\n\x1b[m\x1b[K\x1b[J"


class FakeReactor:
    def __init__(self):
        self.readers = []

    def addReader(self, reader):
        self.readers.append(reader)

    def removeReader(self, reader):
        if reader in self.readers:
            self.readers.remove(reader)


class OnATerminal(TestCase):
    def setUp(self):
        self.user, self.tty = pty.openpty()
        self.open = {self.user, self.tty}
        self.addCleanup(lambda: [os.close(one) for one in self.open])
        self.reactor = FakeReactor()
        self.keys = []
        self.gone = []
        self.terminal = Terminal(
            self.reactor,
            self.keys.append,
            lambda: self.gone.append(True),
            keys=self.tty,
            screen=self.tty,
        )

    def close(self, one):
        os.close(one)
        self.open.discard(one)

    def test_keys_come_one_by_one_and_are_not_shown(self):
        self.terminal.enter()
        os.read(self.user, 1000)
        os.write(self.user, b"w")
        self.terminal.doRead()
        self.assertEqual(self.keys, ["w"])
        self.terminal.show([[Piece("page")]])
        self.assertNotIn(b"w", os.read(self.user, 1000))

    def test_it_is_left_as_it_was_found(self):
        before = termios.tcgetattr(self.tty)
        self.terminal.enter()
        self.assertNotEqual(termios.tcgetattr(self.tty), before)
        self.assertEqual(self.reactor.readers, [self.terminal])
        entered = os.read(self.user, 1000)
        self.terminal.leave()
        left = os.read(self.user, 1000)
        self.assertEqual(termios.tcgetattr(self.tty), before)
        self.assertEqual(self.reactor.readers, [])
        for number in (b"?1049", b"?25"):
            self.assertIn(number, entered)
            self.assertIn(number, left)
        self.assertTrue(left.endswith(b"\x1b[?1049l"))

    def test_it_can_be_entered_and_left_again_and_again(self):
        before = termios.tcgetattr(self.tty)
        for _ in range(2):
            self.terminal.enter()
            self.terminal.enter()
            self.terminal.leave()
            self.terminal.leave()
        self.assertEqual(termios.tcgetattr(self.tty), before)

    def test_nothing_is_shown_on_one_that_has_been_left(self):
        self.terminal.show([[Piece("page")]])
        self.terminal.enter()
        self.assertNotIn(b"page", os.read(self.user, 1000))

    def test_it_knows_its_size(self):
        fcntl.ioctl(self.user, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
        self.assertEqual(self.terminal.size, (132, 50))

    def test_one_that_does_not_say_has_the_usual_size(self):
        fcntl.ioctl(self.user, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        self.assertEqual(self.terminal.size, DEFAULT_SIZE)

    def test_when_it_is_closed_that_is_said_once_and_leaving_is_no_error(self):
        self.terminal.enter()
        self.close(self.user)
        self.terminal.doRead()
        self.assertEqual((self.gone, self.reactor.readers), ([True], []))
        self.terminal.leave()

    def test_a_page_is_shown_whole_on_one_that_is_slow(self):
        os.set_blocking(self.tty, False)
        self.terminal.enter()
        # More than it holds: somebody must read meanwhile.
        import threading

        got = []

        def read():
            while b"the end" not in b"".join(got[-2:]):
                got.append(os.read(self.user, 65536))

        reading = threading.Thread(target=read)
        reading.start()
        self.terminal.show([[Piece("x" * 1000)]] * 200 + [[Piece("the end")]])
        reading.join(60)
        self.assertFalse(reading.is_alive())
        self.assertEqual(b"".join(got).count(b"x"), 200_000)
