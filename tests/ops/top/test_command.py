"""Tests for C{chanserv.ops.top.command}, without a process of its own."""

from __future__ import annotations

import io
import json

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from chanserv.core.defaults import PROCESSES_GROUP
from chanserv.errors import ConfigurationError, LayerUnavailable
from chanserv.layers import MemoryChannelLayer
from chanserv.ops.ask import REST, Answers
from chanserv.ops.snapshot import Process
from chanserv.ops.top.command import (
    REMARK_LASTS,
    START_PATIENCE,
    Asked,
    Top,
    layer_to_look_at,
)
from chanserv.ops.top.page import as_text
from chanserv.server.counts import Counts
from chanserv.testing.fakes import FailingLayer, PlainLayer
from chanserv.worker.status import ConsumerTimes
from tests.ops.top.samples import a_worker
from tests.worker.fakes import TurningReactor


class Reactor(Clock):
    """A clock that can be stopped."""

    running = True

    def stop(self):
        self.running = False


class Screen:
    """A terminal that nobody sees."""

    def __init__(self, pressed, gone):
        self.pressed = pressed
        self.gone = gone
        self.size = (80, 24)
        self.entered = False
        self.left = 0
        self.text = ""
        self.shown = 0

    def enter(self):
        self.entered = True

    def leave(self):
        self.entered = False
        self.left += 1

    def show(self, lines):
        self.shown += 1
        self.text = as_text(lines)


class OpenMemory(PlainLayer):
    """A memory layer that others reach, as far as anybody can tell."""

    within_process = False


class TopTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = Reactor()
        self.memory = MemoryChannelLayer()
        self.layer = FailingLayer(self.memory)
        self.output, self.complaints = io.StringIO(), io.StringIO()
        self.looks = 0

    def serve(self):
        process = Process(release="blue", layer="ipc:site")

        def look():
            self.looks += 1
            return [a_worker(100, consumers={"site.chat": ConsumerTimes(3)})]

        process.workers = look
        process.counts = Counts
        answers = Answers(self.memory, self.reactor, process)
        answers.start()
        return answers

    def start(self, screen=True, **asked):
        self.top = Top(
            self.layer,
            "ipc:site",
            Asked(**asked),
            self.reactor,
            self.output,
            self.complaints,
            self.make_screen if screen else None,
        )
        self.top.start()
        self.pass_time(0.3)

    def make_screen(self, pressed, gone):
        self.screen = Screen(pressed, gone)
        return self.screen

    def pass_time(self, seconds):
        self.reactor.pump([REST / 2] * round(2 * seconds / REST))

    def test_the_first_page_comes_at_once_and_another_each_second(self):
        self.serve()
        self.start()
        self.assertTrue(self.screen.entered)
        self.assertIn("1 process  1 worker", self.screen.text)
        self.assertEqual(self.screen.shown, 1)
        self.pass_time(10.0)
        self.assertIn(self.screen.shown, (10, 11))

    def test_it_looks_as_often_as_it_is_told(self):
        self.serve()
        self.start(every=5.0)
        self.pass_time(20.0)
        self.assertIn(self.looks, (4, 5))

    def test_keys_show_other_pages(self):
        self.serve()
        self.start()
        for key, title in (
            ("w", "WORKERS"),
            ("r", "RELEASES"),
            ("c", "BUSIEST CHANNELS"),
            ("s", "SLOWEST CONSUMERS"),
        ):
            self.screen.pressed(key)
            others = {"WORKERS", "RELEASES", "BUSIEST", "SLOWEST", "PROCESS"} - {title.split()[0]}
            starts = {line.split(" ")[0] for line in self.screen.text.splitlines()}
            self.assertIn(title, self.screen.text)
            self.assertEqual(starts & others, set())
        self.screen.pressed("O")
        self.assertIn("PROCESS", self.screen.text)

    def test_keys_without_a_meaning_do_nothing(self):
        self.serve()
        self.start()
        before = self.screen.text
        for key in ("x", "7", "page up", "down"):
            self.screen.pressed(key)
        self.assertEqual(self.screen.text, before)

    def test_a_long_table_can_be_scrolled(self):
        self.serve()
        self.start()
        for number in range(100):
            self.memory.send("http.request", {"number": number})
        self.screen.size = (80, 6)
        self.screen.pressed("c")
        first = self.screen.text.splitlines()[4]
        self.screen.pressed("down")
        self.assertNotEqual(self.screen.text.splitlines()[4], first)
        self.screen.pressed("up")
        self.assertEqual(self.screen.text.splitlines()[4], first)

    def test_while_it_is_paused_nobody_is_asked_and_nothing_moves(self):
        self.serve()
        self.start()
        self.screen.pressed("p")
        text, looks = self.screen.text, self.looks
        self.assertIn("paused", text)
        self.pass_time(10.0)
        self.assertEqual((self.screen.text, self.looks), (text, looks))
        self.screen.pressed("p")
        self.pass_time(1.0)
        self.assertGreater(self.looks, looks)
        self.assertNotIn("paused", self.screen.text)

    def test_pausing_and_going_on_while_it_looks_does_not_make_two_of_it(self):
        self.serve()
        self.start()
        # Somebody who does not answer is waited for, so that a look takes a while.
        self.memory.group_add(PROCESSES_GROUP, "chanserv.process.dead!roll")
        asker, most, under_way = self.top._asker, 0, 0
        sample = asker.sample

        def counted(patience):
            nonlocal most, under_way
            under_way += 1
            most = max(most, under_way)

            def ended(result):
                nonlocal under_way
                under_way -= 1
                return result

            return sample(patience).addBoth(ended)

        asker.sample = counted
        for _ in range(8):
            self.screen.pressed("p")
            self.screen.pressed("p")
            self.pass_time(0.3)
        before = self.screen.shown
        self.pass_time(10.0)
        self.assertEqual(most, 1)
        self.assertGreater(self.screen.shown, before)

    def test_q_ends_it_with_the_screen_as_it_was(self):
        self.serve()
        self.start()
        self.screen.pressed("q")
        self.pass_time(1.0)
        self.assertEqual((self.screen.entered, self.screen.left), (False, 1))
        self.assertFalse(self.reactor.running)
        self.assertEqual(self.top.exit_code, 0)

    def test_so_does_a_terminal_that_is_gone(self):
        self.serve()
        self.start()
        self.screen.gone()
        self.pass_time(1.0)
        self.assertFalse(self.reactor.running)

    def test_so_does_one_that_cannot_be_written_to(self):
        self.serve()
        self.start()

        def broken(lines):
            raise OSError(5, "Input/output error")

        self.screen.show = broken
        self.pass_time(3.0)
        self.assertFalse(self.reactor.running)
        self.assertEqual(self.top.exit_code, 0)

    def test_it_says_that_no_process_answers_and_asks_on(self):
        self.start()
        self.assertIn("no process answers", self.screen.text)
        self.serve()
        self.pass_time(2.0)
        self.assertIn("1 process", self.screen.text)

    def test_a_layer_that_cannot_be_reached_ends_it_with_a_word(self):
        self.layer.failure = LayerUnavailable("its host does not listen.")
        self.start()
        self.pass_time(1.0)
        self.assertEqual(
            self.complaints.getvalue(),
            "chanserv top: the layer ipc:site cannot be reached: its host does not listen. Is "
            "it the layer that your processes were started with, and do they run?\n",
        )
        self.assertEqual((self.top.exit_code, self.reactor.running), (1, False))
        self.assertFalse(self.screen.entered)

    def test_a_layer_that_says_nothing_ends_it_too(self):
        self.layer.global_statistics = Deferred
        self.start()
        self.pass_time(START_PATIENCE + 1.0)
        self.assertIn("has not answered within 30 s", self.complaints.getvalue())
        self.assertEqual(self.top.exit_code, 1)

    def test_a_layer_that_goes_away_later_is_shown_and_asked_on(self):
        self.serve()
        self.start()
        self.layer.failure = LayerUnavailable("the store is away")
        self.pass_time(3.0)
        self.assertIn("does not answer", self.screen.text)
        self.layer.failure = None
        self.pass_time(12.0)
        self.assertIn("round trip", self.screen.text)
        self.assertTrue(self.reactor.running)

    def test_one_page_of_plain_text_is_printed_with_rates(self):
        self.serve()
        self.start(screen=False, once=True)
        self.assertEqual(self.output.getvalue(), "")
        self.pass_time(3.0)
        text = self.output.getvalue()
        self.assertEqual(text.count("chanserv top"), 1)
        self.assertIn("req 0/s", text)
        self.assertNotIn("\x1b", text)
        self.assertEqual((self.top.exit_code, self.reactor.running), (0, False))

    def test_one_page_on_which_nobody_answers_is_an_error_to_scripts(self):
        self.start(screen=False, once=True)
        self.pass_time(3.0)
        self.assertIn("no process answers", self.output.getvalue())
        self.assertEqual(self.top.exit_code, 1)

    def test_samples_are_printed_as_lines_of_json(self):
        self.serve()
        self.start(screen=False, as_json=True)
        self.pass_time(2.0)
        lines = self.output.getvalue().splitlines()
        self.assertGreaterEqual(len(lines), 2)
        for line in lines:
            self.assertEqual(json.loads(line)["processes"][0]["status"]["release"], "blue")

    def test_one_sample_as_json_is_one_line(self):
        self.serve()
        self.start(screen=False, as_json=True, once=True)
        self.pass_time(3.0)
        self.assertEqual(len(self.output.getvalue().splitlines()), 1)
        self.assertFalse(self.reactor.running)

    def test_without_a_terminal_page_follows_page(self):
        self.serve()
        self.start(screen=False)
        self.pass_time(3.0)
        self.assertGreaterEqual(self.output.getvalue().count("chanserv top"), 3)

    def observe(self):
        globalLogPublisher.addObserver(self.top.note)
        self.addCleanup(globalLogPublisher.removeObserver, self.top.note)

    def test_what_is_said_in_the_log_stands_below_for_a_while(self):
        self.serve()
        self.start()
        self.observe()
        Logger().info("nothing of note")
        Logger().warn("the hub is\n{what}", what="gone")
        self.top.draw()
        self.assertEqual(self.screen.text.splitlines()[-1], "the hub is gone")
        self.pass_time(REMARK_LASTS + 1.0)
        self.assertIn("q quit", self.screen.text.splitlines()[-1])

    def test_without_a_terminal_it_is_a_complaint(self):
        self.serve()
        self.start(screen=False)
        self.observe()
        Logger().warn("the hub is gone")
        self.assertEqual(self.complaints.getvalue(), "chanserv top: the hub is gone\n")

    def test_a_bug_ends_it_with_the_screen_as_it_was(self):
        self.serve()
        self.start()
        self.top._tallies = None
        self.pass_time(3.0)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertEqual((self.top.exit_code, self.screen.left), (1, 1))
        self.assertIn("AttributeError", self.complaints.getvalue())


class WhatCanBeLookedAt(SynchronousTestCase):
    def refusal(self, spec):
        with pytest.raises(ConfigurationError) as caught:
            layer_to_look_at(spec, "the layer's name", TurningReactor())
        return str(caught.value)

    def test_not_a_memory_layer(self):
        self.assertIn("reaches only its own process", self.refusal("memory:"))
        self.assertIn("--layer=ipc:NAME", self.refusal("memory:"))

    def test_not_a_layer_of_the_old_kind(self):
        self.assertIn("cannot be asked", self.refusal("tests.ops.top.test_command:old_layer"))

    def test_a_layer_that_others_read_too(self):
        found = layer_to_look_at("tests.ops.top.test_command:open_layer", "open", TurningReactor())
        self.assertIs(found, open_layer)

    def test_not_more_often_than_processes_answer(self):
        for every in (0.0, 0.4, -1.0, 1e9, float("nan")):
            with pytest.raises(ConfigurationError, match="--every"):
                Asked(every=every)


class OldLayer:
    extensions = ("groups",)

    def send(self, channel, message):
        """Not called."""

    def receive(self, channels, block=False):
        """Not called."""
        return None, None


old_layer = OldLayer()
open_layer = OpenMemory(MemoryChannelLayer())
