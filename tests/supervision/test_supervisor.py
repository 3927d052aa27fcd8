"""Tests for C{chanserv.supervision.supervisor}, with processes that are none."""

from __future__ import annotations

import errno
import os
import tempfile

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from chanserv.supervision.actions import Rules
from chanserv.supervision.lines import LINES_A_SECOND
from chanserv.supervision.release import Release
from chanserv.supervision.supervisor import NOT_FOR_WORKERS, Supervisor
from chanserv.supervision.worker_process import DOWN, LAST_LINES, LAST_WORDS, UP
from chanserv.worker.status import ConsumerTimes, WorkerState, WorkerStatus
from tests.supervision.fakes import FakeProcess, FakeReactor


def beat(**fields) -> dict:
    status = WorkerStatus(0, 0, WorkerState.RUNNING, threads=2, **fields)
    return status.as_dict()


class SupervisorTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = FakeReactor()
        self.supervisor = self.made(2)

    def made(self, workers: int, **rules) -> Supervisor:
        return Supervisor(
            Rules(workers, loading=9, **rules),
            {"settings": "mysite.settings"},
            self.reactor,
            release=Release("r7"),
            threads=2,
            folder="/srv/mysite",
            command=("python", "-m", "worker"),
            chance=lambda: 0.0,
        )

    def begun(self) -> list[FakeProcess]:
        self.supervisor.startService()
        for process in self.reactor.processes:
            process.start()
        return list(self.reactor.processes)


class Starting(SupervisorTests):
    def test_each_process_is_told_what_and_where_to_work(self):
        self.supervisor.startService()
        self.assertEqual([one.orders()["slot"] for one in self.reactor.processes], [1, 2])
        process = self.reactor.processes[0]
        self.assertEqual(process.orders()["orders"], {"settings": "mysite.settings"})
        self.assertEqual(process.orders()["folder"], "/srv/mysite")
        self.assertEqual(process.command, ("python", "-m", "worker"))
        self.assertEqual(process.child_fds, {0: "w", 1: "r", 2: "r", DOWN: "w", UP: "r"})

    def test_what_systemd_tells_this_process_alone_is_not_for_workers(self):
        for name in NOT_FOR_WORKERS:
            os.environ[name] = "x"
            self.addCleanup(os.environ.pop, name)
        self.supervisor.startService()
        env = self.reactor.processes[0].env
        self.assertEqual([name for name in NOT_FOR_WORKERS if name in env], [])
        self.assertEqual(env["PATH"], os.environ["PATH"])

    def test_it_works_as_soon_as_one_worker_does(self):
        self.supervisor.startService()
        waiting = self.supervisor.when_working()
        self.assertNoResult(waiting)
        self.reactor.processes[1].start()
        self.successResultOf(waiting)
        self.successResultOf(self.supervisor.when_working())

    def test_a_process_that_cannot_be_started_is_tried_again(self):
        self.reactor.refusal = OSError(errno.EAGAIN, "Resource temporarily unavailable")
        with capturedLogs() as events:
            self.supervisor.startService()
        said = [formatEvent(one) for one in events]
        self.assertIn(
            "Worker 1 cannot start: no process of python can be started: Resource temporarily "
            "unavailable. Trying again in 1.0 s",
            said,
        )
        self.assertEqual(
            [one.state for one in self.supervisor.statuses()], [WorkerState.WAITING] * 2
        )
        self.reactor.refusal = None
        self.reactor.pass_time(2)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_a_replacement_for_which_no_process_can_be_started_leaves_the_old_ones(self):
        old = self.begun()
        self.reactor.refusal = OSError(errno.EAGAIN, "Resource temporarily unavailable")
        with capturedLogs() as events:
            self.supervisor.replace("SIGHUP")
        self.assertIn("are not replaced", formatEvent(events[-1]))
        self.assertEqual([one.told() for one in old], [["go"], ["go"]])
        self.assertEqual(len(self.supervisor.crew.members), 2)


class Watching(SupervisorTests):
    def test_its_workers_are_shown_with_what_they_last_said_of_themselves(self):
        first, second = self.begun()
        first.say(beat=beat(busy=1, counters={"runs": 5}))
        second.end(signal=9)
        one, other = self.supervisor.statuses()
        self.assertEqual((one.slot, one.pid, one.state), (1, first.pid, WorkerState.RUNNING))
        self.assertEqual((one.release, one.busy, one.counters), ("r7", 1, {"runs": 5}))
        self.assertEqual((other.slot, other.pid, other.state), (2, 0, WorkerState.WAITING))
        self.reactor.pass_time(2)
        self.assertEqual([one.restarts for one in self.supervisor.statuses()], [0, 1])
        self.assertEqual(self.supervisor.statuses()[1].threads, 2)

    def test_what_a_worker_did_that_has_ended_is_not_forgotten(self):
        first, _ = self.begun()
        first.say(beat=beat(counters={"runs": 5}, consumers={"views": ConsumerTimes(5)}))
        first.end(signal=9)
        (past,) = self.supervisor.past.statuses()
        self.assertEqual((past.release, past.counters), ("r7", {"runs": 5}))

    def test_lines_that_a_worker_prints_are_logged_with_its_slot(self):
        process = self.begun()[1]
        with capturedLogs() as events:
            process.print(b"half a ")
            process.print(b"and \xff\xfe nonsense\r\n", 2)
            process.print(b"line\n")
        self.assertEqual(
            [formatEvent(one) for one in events],
            ["[worker 2] and \\xff\\xfe nonsense", "[worker 2] half a line"],
        )
        self.assertEqual({one["release"] for one in events}, {"r7"})

    def test_one_that_prints_without_end_is_not_shown_in_full(self):
        process = self.begun()[0]
        with capturedLogs() as events:
            process.print(b"line\n" * 3 * LINES_A_SECOND)
            process.print(b"x" * 1_000_000)
            self.reactor.pass_time(1)
            process.print(b"\nafter\n")
        texts = [formatEvent(one) for one in events]
        self.assertEqual(len(texts), LINES_A_SECOND + 2)
        self.assertEqual(
            texts[-2:],
            [
                f"[worker 1] ({2 * LINES_A_SECOND + 1} more lines, too fast to be shown)",
                "[worker 1] after",
            ],
        )

    def test_what_was_not_shown_is_said_of_one_that_falls_silent_too(self):
        process = self.begun()[0]
        with capturedLogs() as events:
            process.print(b"line\n" * (LINES_A_SECOND + 7))
            self.reactor.pass_time(3)
        texts = [formatEvent(one) for one in events]
        self.assertEqual(len(texts), LINES_A_SECOND + 1)
        self.assertEqual(texts[-1], "[worker 1] (7 more lines, too fast to be shown)")

    def test_nor_one_that_logs_without_end(self):
        process = self.begun()[0]
        with capturedLogs() as events:
            for number in range(LINES_A_SECOND + 5):
                process.say(log={"time": 1.0, "text": f"event {number}"})
            self.reactor.pass_time(1)
            process.say(log={"time": 1.0, "text": "after"})
        texts = [formatEvent(one) for one in events]
        self.assertEqual(len(texts), LINES_A_SECOND + 2)
        self.assertEqual(
            texts[-2:], ["[worker 1] (5 more lines, too fast to be shown)", "[worker 1] after"]
        )

    def test_its_last_lines_are_said_when_it_ends_unexpectedly(self):
        process = self.begun()[0]
        process.print(b"".join(b"line %d\n" % n for n in range(100)))
        with capturedLogs() as events:
            process.end(code=1)
        text = formatEvent(events[0])
        self.assertIn("Worker 1 ended: exit status 1. Starting it again in 1.0 s", text)
        self.assertEqual(
            text.splitlines()[1:], [f"  line {n}" for n in range(100 - LAST_LINES, 100)]
        )

    def test_what_makes_no_sense_is_logged_and_harms_nobody(self):
        process = self.begun()[0]
        with capturedLogs() as events:
            for line in (b"\x00\xff", b"[1, 2]", b"{", b'"x"', b"{" + b"x" * 5_000_000):
                process.print(line + b"\n", UP)
            process.say(unknown=1)
            process.say(state="dancing")
            process.say(roll=None)
        self.assertEqual(sum("makes no sense" in formatEvent(one) for one in events), 5)
        self.assertEqual(self.supervisor.crew.working, 2)

    def test_a_message_with_a_wrong_value_is_logged_as_a_mistake_of_ours(self):
        process = self.begun()[0]
        process.say(beat={"slot": "x"})
        process.say(log={"time": None})
        self.assertEqual(len(self.flushLoggedErrors()), 2)
        self.assertEqual(self.supervisor.crew.working, 2)

    def test_others_may_hear_what_workers_say(self):
        heard = []
        self.supervisor.heard["changed"] = lambda slot, value: heard.append((slot, value))
        self.begun()[1].say(changed="/srv/mysite/views.py")
        self.assertEqual(heard, [(2, "/srv/mysite/views.py")])

    def test_one_that_ended_is_struck_off_the_roll(self):
        left = []
        self.supervisor.on_left = left.append
        first, second = self.begun()
        first.say(roll="chanserv.worker.x!roll")
        first.end(signal=9)
        second.end(signal=9)
        self.assertEqual(left, ["chanserv.worker.x!roll"])

    def test_the_end_of_one_whose_pipes_stay_open_is_noticed(self):
        process = self.begun()[0]
        from twisted.internet.error import ProcessTerminated
        from twisted.python.failure import Failure

        process.ended = True
        process.protocol.processExited(Failure(ProcessTerminated(1)))
        self.assertEqual(self.supervisor.crew.working, 2)
        self.reactor.pass_time(LAST_WORDS)
        self.assertEqual(self.supervisor.crew.working, 1)
        self.assertTrue(process.pipes[DOWN].closed)
        # What its own children say is not its own.
        process.print(b"late\n")
        process.say(state="loaded")
        self.assertEqual(self.supervisor.crew.working, 1)

    def test_one_that_hangs_is_asked_to_show_what_it_does_and_killed_where_wished(self):
        self.supervisor = self.made(1, stuck_after=10.0, replace_stuck=True, stop_timeout=3.0)
        process = self.begun()[0]
        with capturedLogs() as events:
            self.reactor.pass_time(11)
        self.assertEqual(process.told(), ["go", "show", "drain"])
        self.assertIn("no sign of life", formatEvent(events[0]))
        self.reactor.pass_time(9)
        self.assertEqual(process.signals, ["KILL"])
        self.assertEqual(len(self.reactor.processes), 2)


class Labels(SupervisorTests):
    def file(self) -> str:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return os.path.join(folder.name, "RELEASE")

    def test_a_label_from_a_file_is_that_of_each_worker_as_it_starts(self):
        path = self.file()

        def deploy(label: str) -> None:
            with open(path, "w") as file:
                file.write(label)

        deploy("r1\nand more")
        self.supervisor = Supervisor(
            Rules(2), {}, self.reactor, release=Release(f"@{path}"), command=("python",)
        )
        first, second = self.begun()
        deploy("r2")
        self.assertEqual([one.release for one in self.supervisor.statuses()], ["r1", "r1"])
        first.say(beat=beat(counters={"runs": 5}))
        first.end(signal=9)
        self.reactor.pass_time(2)
        self.assertEqual([one.release for one in self.supervisor.statuses()], ["r2", "r1"])
        self.assertEqual([one.release for one in self.supervisor.past.statuses()], ["r1"])
        with capturedLogs() as events:
            second.print(b"line\n")
            self.reactor.processes[2].print(b"line\n")
        self.assertEqual([one["release"] for one in events], ["r1", "r2"])

    def test_a_file_that_is_gone_leaves_the_label(self):
        path = self.file()
        with open(path, "w") as file:
            file.write("r1")
        release = Release(f"@{path}")
        self.assertEqual(release.read(), "r1")
        os.remove(path)
        with capturedLogs() as events:
            self.assertEqual(release.read(), "r1")
        self.assertIn("cannot be read: No such file or directory", formatEvent(events[0]))


class Replacing(SupervisorTests):
    def test_whoever_wishes_is_told_when_one_begins_and_how_it_ends(self):
        told = []
        self.supervisor.on_replacing = lambda: told.append("begins")
        self.supervisor.on_replaced = told.append
        old = self.begun()
        self.supervisor.replace("SIGHUP")
        for process in self.reactor.processes[2:]:
            process.say(state="loaded")
        for process in self.reactor.processes[2:]:
            process.say(state="running")
        self.assertEqual(told, ["begins", True])
        self.assertEqual([one.told() for one in old], [["go", "finish"]] * 2)
        self.supervisor.replace("again")
        self.reactor.processes[4].say(failed="SyntaxError")
        self.reactor.processes[4].end(code=1)
        self.assertEqual(told, ["begins", True, "begins", False])

    def test_before_it_has_begun_there_is_nobody_to_replace(self):
        self.supervisor.replace("SIGHUP")
        self.begun()
        self.assertEqual(len(self.reactor.processes), 2)


class Stopping(SupervisorTests):
    def test_it_has_stopped_when_the_last_worker_has_ended(self):
        first, second = self.begun()
        self.supervisor.stop_begins()
        self.assertEqual(first.told(), ["go"])
        stopped = self.supervisor.stopService()
        again = self.supervisor.stopService()
        self.assertEqual(first.told(), ["go", "drain"])
        first.end()
        self.assertNoResult(stopped)
        second.end()
        self.successResultOf(stopped)
        self.successResultOf(again)
        self.successResultOf(self.supervisor.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.supervisor.statuses(), [])

    def test_one_that_does_not_end_is_killed(self):
        first, second = self.begun()
        stopped = self.supervisor.stopService()
        first.end()
        self.reactor.pass_time(16)
        self.assertEqual((first.signals, second.signals), ([], ["KILL"]))
        second.end(signal=9)
        self.successResultOf(stopped)

    def test_one_whose_pipe_is_gone_is_told_nothing_and_killed_in_time(self):
        first, second = self.begun()
        del first.pipes[DOWN]
        stopped = self.supervisor.stopService()
        second.end()
        self.reactor.pass_time(16)
        self.assertEqual(first.signals, ["KILL"])
        first.end(signal=9)
        self.successResultOf(stopped)

    def test_it_can_be_stopped_while_all_wait_to_be_started_again(self):
        for process in self.begun():
            process.end(code=1)
        self.successResultOf(self.supervisor.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopping_what_has_not_been_started_is_nothing(self):
        self.successResultOf(self.supervisor.stopService())
