"""Tests for C{chanserv.supervision.crew}: what is to be done, without any process."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chanserv.supervision.actions import Action, Kill, Replacement, Rules, Say, Spawn, Tell
from chanserv.supervision.crew import ASKED_GRACE, NOT_LATE, Crew
from chanserv.supervision.places import FIRST_WAIT, GOOD_RUN, JITTER, KILL_AFTER, LONGEST_WAIT
from chanserv.worker.status import WorkerState


class Watched:
    """A crew whose actions are noted, and whose time is moved by hand."""

    def __init__(self, workers: int = 2, chance: float = 0.0, loading: int = 9, **rules) -> None:
        self.crew = Crew(Rules(workers, loading=loading, **rules), lambda: chance)
        self.now = 100.0
        self.done: list[Action] = []
        self.alive: dict[int, int] = {}

    def do(self, actions: Iterable[Action]) -> list[Action]:
        new = list(actions)
        for action in new:
            if isinstance(action, Spawn):
                self.alive[action.member] = action.slot
        self.done += new
        return new

    def begin(self) -> list[int]:
        return self.spawned(self.do(self.crew.begin(self.now)))

    def spawned(self, actions: Iterable[Action]) -> list[int]:
        return [one.member for one in actions if isinstance(one, Spawn)]

    def loaded(self, *members: int) -> list[Action]:
        return [one for n in members for one in self.do(self.crew.loaded(n, self.now))]

    def run(self, *members: int) -> list[Action]:
        return [one for n in members for one in self.do(self.crew.running(n, self.now))]

    def end(self, *members: int, how: str = "") -> list[Action]:
        for number in members:
            del self.alive[number]
        return [one for n in members for one in self.do(self.crew.ended(n, self.now, how))]

    def fail(self, member: int, why: str) -> list[Action]:
        self.crew.failed(member, why)
        return self.end(member, how="exit status 1")

    def pass_time(self, seconds: float, beat: float | None = 0.0) -> list[Action]:
        """Let time pass as a supervisor sees it; C{beat} is what all say of themselves."""
        new: list[Action] = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 1.0, end)
            if beat is not None:
                for number in list(self.alive):
                    new += self.do(self.crew.beat(number, self.now, beat))
            new += self.do(self.crew.tick(self.now))
        return new

    def begin_and_run(self) -> list[int]:
        members = self.begin()
        self.loaded(*members)
        self.run(*members)
        self.done.clear()
        return members

    def states(self) -> list[WorkerState]:
        return [one.state for one in self.crew.members.values()]


def told(actions: Iterable[Action], what: str) -> list[int]:
    return [one.member for one in actions if isinstance(one, Tell) and one.what == what]


def killed(actions: Iterable[Action]) -> list[int]:
    return [one.member for one in actions if isinstance(one, Kill)]


def lines(actions: Iterable[Action]) -> list[str]:
    return [one.text.format(**one.fields) for one in actions if isinstance(one, Say)]


class TestStarting:
    def test_each_slot_gets_a_process_that_goes_as_soon_as_it_has_loaded(self) -> None:
        it = Watched(3)
        assert [(one.member, one.slot) for one in it.do(it.crew.begin(it.now))] == [
            (1, 1),
            (2, 2),
            (3, 3),
        ]
        assert told(it.loaded(2), "go") == [2]
        it.run(2)
        assert it.crew.working == 1

    def test_one_that_ends_is_started_again_after_growing_waits(self) -> None:
        it = Watched(1)
        (member,) = it.begin()
        waits = []
        for _ in range(8):
            it.end(member, how="exit status 1")
            ended = it.now
            while not (found := it.spawned(it.do(it.crew.tick(it.now)))):
                it.now += 0.5
            (member,) = found
            waits.append(it.now - ended)
        assert waits == [1, 2, 4, 8, 16, LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT]

    def test_a_part_of_a_wait_is_left_to_chance(self) -> None:
        it = Watched(1, chance=1.0)
        (member,) = it.begin()
        it.end(member, how="exit status 1")
        assert it.crew.slots[0].wake == it.now + FIRST_WAIT * (1 - JITTER)

    def test_one_that_ran_for_long_is_started_again_after_the_first_wait(self) -> None:
        it = Watched(1)
        (member,) = it.begin()
        for _ in range(5):
            it.end(member, how="exit status 1")
            (member,) = it.spawned(it.pass_time(LONGEST_WAIT + 1))
        it.loaded(member)
        it.run(member)
        it.pass_time(GOOD_RUN)
        it.end(member, how="killed by signal 9")
        assert it.crew.slots[0].wake == it.now + FIRST_WAIT

    def test_one_that_takes_too_long_to_load_is_killed(self) -> None:
        it = Watched(1, start_timeout=20.0)
        (member,) = it.begin()
        assert killed(it.pass_time(19)) == []
        assert killed(it.pass_time(1)) == [member]
        (line,) = lines(it.end(member, how="killed by signal 9"))[:1]
        assert "has not loaded the site within 20 s (--start-timeout)" in line

    def test_why_it_cannot_start_is_said_and_for_the_others_that_it_is_the_same(self) -> None:
        it = Watched(2)
        it.begin()
        said = lines(it.fail(1, "no module named shop") + it.fail(2, "no module named shop"))
        assert "Worker 1 cannot start: no module named shop. Trying again in 1.0 s" in said[0]
        assert "Worker 2 cannot start, for the same reason" in said[1]
        assert "No worker is left" in said[2]

    def test_that_none_is_left_is_said_once_until_one_runs(self) -> None:
        it = Watched(1)
        (member,) = it.begin()
        for _ in range(4):
            it.fail(member, "no module named shop")
            (member,) = it.spawned(it.pass_time(LONGEST_WAIT))
        assert sum("No worker is left" in line for line in lines(it.done)) == 1
        it.loaded(member)
        it.run(member)
        assert any("No worker is left" in line for line in lines(it.fail(member, "x")))

    def test_its_last_lines_are_shown_where_it_gave_no_reason(self) -> None:
        it = Watched(2)
        members = it.begin_and_run()
        (said, *_) = it.end(members[0], how="killed by signal 9")
        assert isinstance(said, Say)
        assert said.last_lines_of == members[0]
        assert lines([said]) == ["Worker 1 ended: killed by signal 9. Starting it again in 1.0 s"]

    def test_one_that_ends_in_order_though_nobody_told_it_to_is_started_again(self) -> None:
        it = Watched(1)
        (member,) = it.begin_and_run()
        assert "though nobody had told it to" in lines(it.end(member))[0]
        assert len(it.spawned(it.pass_time(2))) == 1

    def test_what_unknown_members_say_changes_nothing(self) -> None:
        it = Watched(1)
        it.begin()
        crew = it.crew
        for actions in (
            crew.loaded(9, it.now),
            crew.running(9, it.now),
            crew.beat(9, it.now, 0.0),
            crew.asked(9, it.now),
            crew.ended(9, it.now, ""),
        ):
            assert list(actions) == []
        crew.failed(9, "x")
        # Nor does what makes no sense yet.
        assert list(crew.running(1, it.now)) == []
        assert it.states() == [WorkerState.STARTING]


class TestReplacing:
    def test_old_ones_drain_only_when_every_new_one_runs(self) -> None:
        it = Watched(2)
        old = it.begin_and_run()
        new = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        assert len(new) == 2
        assert told(it.loaded(new[0]), "go") == []
        assert told(it.loaded(new[1]), "go") == new
        assert told(it.run(new[1]), "finish") == []
        actions = it.run(new[0])
        assert told(actions, "finish") == old
        assert Replacement(True) in actions
        assert it.crew.working == 2
        assert lines(it.end(*old)) == [
            "Worker 1 has ended in order",
            "Worker 2 has ended in order",
        ]
        assert [slot.restarts for slot in it.crew.slots] == [1, 1]

    @pytest.mark.parametrize("others", ["starting", "loaded"])
    def test_one_that_cannot_start_ends_the_new_ones_and_the_old_stay(self, others) -> None:
        it = Watched(2)
        it.begin_and_run()
        new = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        if others == "loaded":
            it.loaded(new[0])
        actions = it.fail(new[1], "SyntaxError in shop.py, line 3")
        # Who loads the site may not even hear.
        assert told(actions, "drain") == ([new[0]] if others == "loaded" else [])
        assert killed(actions) == ([] if others == "loaded" else [new[0]])
        assert Replacement(False) in actions
        assert (
            "and those at work go on: new worker 2 cannot start: SyntaxError" in (lines(actions)[0])
        )
        it.end(new[0])
        assert it.crew.working == 2
        assert [slot.restarts for slot in it.crew.slots] == [0, 0]
        assert it.spawned(it.pass_time(60)) == []

    def test_one_that_ends_after_it_has_gone_gives_the_replacement_up_too(self) -> None:
        it = Watched(2)
        it.begin_and_run()
        new = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        it.loaded(*new)
        it.run(new[0])
        actions = it.end(new[1], how="killed by signal 11")
        assert "ended before it had taken over: killed by signal 11" in lines(actions)[0]
        assert told(actions, "finish") == [new[0]]
        assert it.crew.working == 2

    def test_so_many_new_ones_load_at_once_and_all_go_together(self) -> None:
        it = Watched(3, loading=2)
        it.begin_and_run()
        first, second = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        actions = it.loaded(second)
        (third,) = it.spawned(actions)
        assert told(actions + it.loaded(first), "go") == []
        assert told(it.loaded(third), "go") == [first, second, third]
        assert it.spawned(it.run(first, second, third)) == []
        assert it.crew.working == 3

    def test_of_those_that_were_to_come_none_does_when_one_cannot_start(self) -> None:
        it = Watched(3, loading=1)
        it.begin_and_run()
        (first,) = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        (second,) = it.spawned(it.loaded(first))
        assert it.spawned(it.fail(second, "SyntaxError")) == []
        assert it.spawned(it.end(first) + it.pass_time(10)) == []
        assert len(it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))) == 1
        assert [slot.restarts for slot in it.crew.slots] == [0, 0, 0]

    def test_wishes_that_come_during_one_are_remembered_once(self) -> None:
        it = Watched(1)
        it.begin_and_run()
        (new,) = it.spawned(it.do(it.crew.replace(it.now, "first")))
        assert it.spawned(it.do(it.crew.replace(it.now, "second"))) == []
        assert it.spawned(it.do(it.crew.replace(it.now, "third"))) == []
        it.loaded(new)
        (newer,) = it.spawned(it.run(new))
        assert it.crew.replacing == "third"
        it.loaded(newer)
        assert it.spawned(it.run(newer)) == []
        assert it.crew.replacing is None

    def test_a_wish_that_came_during_one_that_failed_is_next(self) -> None:
        it = Watched(1)
        it.begin_and_run()
        (new,) = it.spawned(it.do(it.crew.replace(it.now, "first")))
        it.do(it.crew.replace(it.now, "second"))
        assert len(it.spawned(it.fail(new, "SyntaxError"))) == 1

    def test_an_old_one_that_dies_meanwhile_is_followed_by_its_successor(self) -> None:
        it = Watched(2)
        old = it.begin_and_run()
        new = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        it.end(old[0], how="killed by signal 9")
        assert it.spawned(it.pass_time(10)) == []
        it.loaded(*new)
        assert told(it.run(*new), "finish") == [old[1]]
        assert it.crew.slots[0].wake is None

    def test_and_is_started_again_when_the_replacement_fails(self) -> None:
        it = Watched(2)
        old = it.begin_and_run()
        new = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        it.end(old[0], how="killed by signal 9")
        it.fail(new[0], "SyntaxError")
        assert len(it.spawned(it.pass_time(2))) == 1

    def test_when_none_could_start_it_starts_all_at_once(self) -> None:
        it = Watched(2)
        for member in it.begin():
            it.fail(member, "SyntaxError")
        new = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        it.loaded(*new)
        it.run(*new)
        assert it.crew.working == 2
        assert it.spawned(it.pass_time(60)) == []

    def test_a_new_one_that_hangs_while_it_loads_gives_the_replacement_up(self) -> None:
        it = Watched(2, start_timeout=20.0)
        it.begin_and_run()
        new = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        it.loaded(new[0])
        assert killed(it.pass_time(20)) == [new[1]]
        assert "within 20 s (--start-timeout)" in lines(it.end(new[1], how="killed"))[0]
        assert it.crew.working == 2

    def test_a_new_one_that_does_not_go_gives_the_replacement_up(self) -> None:
        it = Watched(1, start_timeout=20.0)
        it.begin_and_run()
        (new,) = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        it.pass_time(19)
        it.loaded(new)
        assert killed(it.pass_time(19)) == []
        assert killed(it.pass_time(1)) == [new]

    def test_a_reload_gives_up_a_replacement_that_is_under_way(self) -> None:
        it = Watched(1)
        it.begin_and_run()
        (new,) = it.spawned(it.do(it.crew.replace(it.now, "first")))
        actions = it.do(it.crew.reload(it.now, "second"))
        assert killed(actions) == [new]
        (newer,) = it.spawned(actions)
        assert newer != new


class TestFinishing:
    def test_one_whose_place_another_has_taken_has_its_time_to_finish(self) -> None:
        it = Watched(1, stop_timeout=10.0, finish_timeout=100.0)
        (old,) = it.begin_and_run()
        (new,) = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        it.loaded(new)
        assert told(it.run(new), "finish") == [old]
        assert killed(it.pass_time(100 + KILL_AFTER - 1)) == []
        assert killed(it.pass_time(1)) == [old]

    def test_until_the_next_replacement_or_a_stop_wants_it_to_end(self) -> None:
        it = Watched(1, stop_timeout=10.0, finish_timeout=100.0)
        (old,) = it.begin_and_run()
        (new,) = it.spawned(it.do(it.crew.replace(it.now, "first")))
        it.loaded(new)
        it.run(new)
        (newer,) = it.spawned(it.do(it.crew.replace(it.now, "second")))
        it.loaded(newer)
        actions = it.run(newer)
        assert (told(actions, "drain"), told(actions, "finish")) == ([old], [new])
        assert killed(it.pass_time(10 + KILL_AFTER)) == [old]
        assert told(it.do(it.crew.stop(it.now)), "drain") == [new, newer]
        assert killed(it.pass_time(10 + KILL_AFTER)) == [new, newer]


class TestEnding:
    def test_all_drain_and_it_is_done_when_the_last_has_ended(self) -> None:
        it = Watched(2)
        members = it.begin_and_run()
        assert told(it.do(it.crew.stop(it.now)), "drain") == members
        it.end(members[0])
        assert not it.crew.done
        it.end(members[1])
        assert it.crew.done

    def test_one_that_does_not_end_in_time_is_killed(self) -> None:
        it = Watched(1, stop_timeout=7.0)
        (member,) = it.begin_and_run()
        it.do(it.crew.stop(it.now))
        assert killed(it.pass_time(7 + KILL_AFTER - 1)) == []
        actions = it.pass_time(1)
        assert killed(actions) == [member]
        assert "has not ended in time" in lines(actions)[0]
        it.end(member, how="killed by signal 9")
        assert it.crew.done

    def test_one_that_has_taken_nothing_has_nothing_to_finish(self) -> None:
        it = Watched(2, stop_timeout=600.0)
        it.begin_and_run()
        loaded, loads = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        it.loaded(loaded)
        actions = it.do(it.crew.stop(it.now))
        assert loaded in told(actions, "drain")
        assert killed(actions) == [loads]
        it.end(loads, how="killed by signal 9")
        assert killed(it.pass_time(KILL_AFTER)) == [loaded]

    def test_nobody_is_started_any_more(self) -> None:
        it = Watched(2)
        members = it.begin_and_run()
        it.end(members[0], how="killed by signal 9")
        it.do(it.crew.stop(it.now))
        assert it.spawned(it.pass_time(60)) == []
        assert it.spawned(it.do(it.crew.replace(it.now, "SIGHUP"))) == []

    def test_a_replacement_is_given_up_when_the_stop_begins_and_the_old_ones_work_on(self) -> None:
        it = Watched(1)
        it.begin_and_run()
        (new,) = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        it.do(it.crew.replace(it.now, "SIGHUP"))
        actions = it.do(it.crew.hold(it.now))
        assert killed(actions) == [new]
        assert it.spawned(actions) == []
        assert it.crew.working == 1
        assert "no workers are replaced" in lines(it.do(it.crew.replace(it.now, "x")))[0].lower()

    def test_one_that_dies_while_connections_come_to_their_end_is_started_again(self) -> None:
        it = Watched(1)
        (member,) = it.begin_and_run()
        it.do(it.crew.hold(it.now))
        it.end(member, how="killed by signal 9")
        assert len(it.spawned(it.pass_time(2))) == 1

    def test_without_any_it_is_done_at_once(self) -> None:
        it = Watched(1)
        it.do(it.crew.stop(it.now))
        assert it.crew.done


class TestItsOwnSignal:
    def test_one_that_got_a_sigterm_is_followed_by_another_and_drains(self) -> None:
        it = Watched(2)
        members = it.begin_and_run()
        assert told(it.do(it.crew.asked(members[0], it.now)), "wait") == [members[0]]
        actions = it.pass_time(ASKED_GRACE)
        assert told(actions, "drain") == [members[0]]
        assert len(it.spawned(actions)) == 1

    def test_when_all_processes_got_it_workers_go_on_until_they_are_told(self) -> None:
        it = Watched(1)
        (member,) = it.begin_and_run()
        it.do(it.crew.asked(member, it.now))
        it.do(it.crew.hold(it.now))
        assert told(it.do(it.crew.asked(member, it.now)), "wait") == [member]
        assert told(it.pass_time(30), "drain") == []

    def test_a_new_one_that_got_it_gives_the_replacement_up(self) -> None:
        it = Watched(2)
        it.begin_and_run()
        new = it.spawned(it.do(it.crew.replace(it.now, "SIGHUP")))
        it.loaded(*new)
        it.run(new[0])
        it.do(it.crew.asked(new[0], it.now))
        actions = it.pass_time(ASKED_GRACE)
        assert sorted(told(actions, "drain") + told(actions, "finish")) == new
        assert it.run(new[1]) == []
        assert it.crew.working == 2


class TestStuck:
    def test_one_whose_threads_get_nowhere_is_reported_once_and_shows_what_it_does(self) -> None:
        it = Watched(1, stuck_after=10.0)
        (member,) = it.begin_and_run()
        assert it.pass_time(5, beat=10.0) == []
        actions = it.pass_time(5, beat=11.0)
        assert told(actions, "show") == [member]
        (line,) = lines(actions)
        assert "all its threads in the same consumers for 11 s (--stuck-after)" in line
        assert it.states() == [WorkerState.STUCK]
        assert lines(it.pass_time(1, beat=0.0)) == ["Worker 1 works again"]
        assert it.states() == [WorkerState.RUNNING]

    def test_one_that_gives_no_sign_of_life_is_reported(self) -> None:
        it = Watched(1, stuck_after=10.0)
        it.begin_and_run()
        it.pass_time(1)
        assert it.pass_time(10, beat=None) == []
        (line,) = lines(it.pass_time(1, beat=None))
        assert "no sign of life for 11 s" in line
        assert killed(it.pass_time(60, beat=None)) == []

    def test_it_is_replaced_where_that_is_wished(self) -> None:
        it = Watched(1, stuck_after=10.0, replace_stuck=True)
        (member,) = it.begin_and_run()
        actions = it.pass_time(1, beat=11.0)
        assert told(actions, "drain") == [member]
        assert len(it.spawned(actions)) == 1
        assert killed(it.pass_time(10 + KILL_AFTER, beat=11.0)) == [member]

    def test_where_the_supervisor_itself_did_not_run_no_silence_counts(self) -> None:
        it = Watched(1, stuck_after=10.0)
        it.begin_and_run()
        it.pass_time(1)
        it.now += 1000
        assert it.do(it.crew.tick(it.now)) == []
        assert it.pass_time(NOT_LATE, beat=None) == []


class AnyTurnOfEvents(RuleBasedStateMachine):
    """Whatever members do, in whatever order."""

    @initialize(workers=st.integers(1, 4), loading=st.integers(1, 4), replace=st.booleans())
    def begin(self, workers: int, loading: int, replace: bool) -> None:
        self.it = Watched(
            workers, loading=loading, stuck_after=20.0, start_timeout=30.0, replace_stuck=replace
        )
        self.told: dict[int, list[str]] = {}
        self.check(self.it.do(self.it.crew.begin(self.it.now)))

    def check(self, actions: list[Action]) -> None:
        """Check what is done."""
        crew = self.it.crew
        for action in actions:
            match action:
                case Spawn(member, slot):
                    assert not crew.stopping
                    assert member not in self.told
                    assert 1 <= slot <= len(crew.slots)
                    self.told[member] = []
                case Tell(member, what):
                    assert member in self.it.alive
                    if what in ("go", "finish", "drain"):
                        order = ["go", "finish", "drain"]
                        assert all(
                            order.index(one) < order.index(what) for one in self.told[member]
                        )
                        self.told[member].append(what)
                case Kill(member):
                    assert member in self.it.alive
                case Say():
                    assert lines([action])

    def some(self, data: st.DataObject) -> int | None:
        alive = sorted(self.it.alive)
        return data.draw(st.sampled_from(alive)) if alive else None

    @rule(data=st.data())
    def one_gets_on(self, data: st.DataObject) -> None:
        number = self.some(data)
        if number is None:
            return
        now, crew = self.it.now, self.it.crew
        before = crew.working
        if crew.members[number].state is WorkerState.STARTING:
            actions = self.it.do(crew.loaded(number, now))
        elif "go" in self.told[number]:
            actions = self.it.do(crew.running(number, now))
        else:
            actions = []
        self.check(actions)
        if Replacement(True) in actions:
            assert all(
                slot.member is not None and slot.member.state is WorkerState.RUNNING
                for slot in crew.slots
            )
        else:
            assert not told(actions, "finish"), "nobody goes for one that gets on"
        assert crew.working >= min(before, len(crew.slots))

    @rule(data=st.data(), how=st.sampled_from(["", "exit status 1", "killed by signal 9"]))
    def one_ends(self, data: st.DataObject, how: str) -> None:
        number = self.some(data)
        if number is None:
            return
        crew = self.it.crew
        at_work = {slot.member for slot in crew.slots if slot.member} - {crew.members[number]}
        self.check(self.it.end(number, how=how))
        assert {slot.member for slot in crew.slots if slot.member} == at_work

    @rule(data=st.data())
    def one_is_asked_to_end(self, data: st.DataObject) -> None:
        number = self.some(data)
        if number is not None:
            self.check(self.it.do(self.it.crew.asked(number, self.it.now)))

    @rule(seconds=st.integers(1, 40), beat=st.sampled_from([None, 0.0, 25.0]))
    def time_passes(self, seconds: int, beat: float | None) -> None:
        self.check(self.it.pass_time(seconds, beat))

    @rule()
    def all_are_to_be_replaced(self) -> None:
        self.check(self.it.do(self.it.crew.replace(self.it.now, "SIGHUP")))

    @rule()
    def files_have_changed(self) -> None:
        self.check(self.it.do(self.it.crew.reload(self.it.now, "a file")))

    @precondition(lambda self: not self.it.crew.stopping)
    @rule(at_once=st.booleans())
    def a_stop_begins(self, at_once: bool) -> None:
        crew = self.it.crew
        self.check(self.it.do(crew.stop(self.it.now) if at_once else crew.hold(self.it.now)))

    @invariant()
    def each_process_is_known_and_has_one_place(self) -> None:
        crew = self.it.crew
        assert crew.members.keys() == self.it.alive.keys()
        placed = [m for slot in crew.slots for m in (slot.member, slot.successor) if m]
        assert len(placed) == len(set(placed))
        for member in placed:
            assert member.number in crew.members
            assert member.state is not WorkerState.DRAINING
        for member in crew.members.values():
            if member not in placed:
                assert member.state is WorkerState.DRAINING
                told_to = {*self.told[member.number]} & {"drain", "finish"}
                assert told_to or Kill(member.number) in self.it.done

    @invariant()
    def no_slot_is_forgotten(self) -> None:
        crew = self.it.crew
        for slot in crew.slots:
            assert slot.member or slot.wake is not None or crew.stopping

    @invariant()
    def successors_are_there_just_while_a_replacement_is_under_way(self) -> None:
        crew = self.it.crew
        successors = [slot for slot in crew.slots if slot.successor is not None]
        if crew.replacing is None:
            assert not successors
        else:
            assert len(successors) + len(crew._to_come) == len(crew.slots)
            loading = [one for one in successors if one.successor.state is WorkerState.STARTING]
            assert 0 <= len(loading) <= crew.rules.loading
            assert loading or not crew._to_come
        assert not (crew.held and crew.replacing)

    @invariant()
    def restarts_never_become_fewer(self) -> None:
        restarts = [slot.restarts for slot in self.it.crew.slots]
        before = getattr(self, "restarts", [0] * len(restarts))
        assert all(old <= new for old, new in zip(before, restarts, strict=True))
        self.restarts = restarts

    def teardown(self) -> None:
        """However it went, a stop ends: those that do not end by themselves are killed."""
        if not hasattr(self, "it"):
            return
        crew = self.it.crew
        if not crew.stopping:
            self.check(self.it.do(crew.stop(self.it.now)))
        self.check(self.it.pass_time(10 + KILL_AFTER, beat=None))
        assert all(one.deadline is None for one in crew.members.values())
        assert set(self.it.alive) <= set(killed(self.it.done))
        self.it.end(*self.it.alive, how="killed by signal 9")
        assert crew.done


AnyTurnOfEvents.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
test_any_turn_of_events = AnyTurnOfEvents.TestCase


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_a_wait_is_never_above_the_longest_nor_below_half_the_first(chances) -> None:
    it = Watched(1)
    (member,) = it.begin()
    for chance in chances:
        it.crew._chance = lambda chance=chance: chance
        it.end(member, how="exit status 1")
        wake = it.crew.slots[0].wake
        assert wake is not None
        assert FIRST_WAIT / 2 <= wake - it.now <= LONGEST_WAIT
        (member,) = it.spawned(it.do(it.crew.tick(wake)))
