from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from twisted.python import threadable

from chanserv.layers import private_reactor
from chanserv.layers.private_reactor import PrivateReactor
from tests.processes import wait_until


@pytest.fixture
def reactor() -> Iterator[PrivateReactor]:
    reactor = PrivateReactor()
    thread = threading.Thread(target=reactor.run, args=(False,), daemon=True)
    thread.start()
    yield reactor
    reactor.callFromThread(reactor.stop)
    thread.join(60)
    assert not thread.is_alive()


def asked(reactor: PrivateReactor) -> threading.Event:
    """Set when the reactor has got round to it."""
    done = threading.Event()
    reactor.callFromThread(done.set)
    return done


def test_a_reactor_that_is_held_does_nothing_until_it_is_let_go(reactor: PrivateReactor) -> None:
    assert asked(reactor).wait(60)
    let_go = reactor.hold()
    done = asked(reactor)
    assert not done.wait(0.1)
    let_go()
    assert done.wait(60)


def test_a_busy_reactor_can_be_held(reactor: PrivateReactor) -> None:
    turns = 0

    def again() -> None:
        nonlocal turns
        turns += 1
        reactor.callLater(0, again)

    reactor.callFromThread(again)
    wait_until(lambda: turns)
    for _ in range(20):
        let_go = reactor.hold()
        seen = turns
        time.sleep(0.001)
        assert turns == seen
        let_go()
        wait_until(lambda seen=seen: turns > seen)  # type: ignore[misc]


def test_a_turn_that_does_not_end_is_not_waited_for_for_ever(
    reactor: PrivateReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_reactor, "HOLD_SECONDS", 0.05)
    begun, end = threading.Event(), threading.Event()
    reactor.callFromThread(begun.set)
    reactor.callFromThread(end.wait, 60)
    assert begun.wait(60)
    reactor.hold()()
    end.set()
    assert asked(reactor).wait(60)


def test_its_own_thread_does_not_wait_for_itself(reactor: PrivateReactor) -> None:
    held = threading.Event()

    def hold() -> None:
        reactor.hold()()
        held.set()

    reactor.callFromThread(hold)
    assert held.wait(60)
    assert asked(reactor).wait(60)


def test_two_threads_can_hold_it_one_after_the_other(reactor: PrivateReactor) -> None:
    assert asked(reactor).wait(60)
    first = reactor.hold()
    order: list[str] = []

    def second() -> None:
        let_go = reactor.hold()
        order.append("second")
        let_go()

    other = threading.Thread(target=second)
    other.start()
    order.append("first")
    first()
    other.join(60)
    assert order == ["first", "second"]
    assert asked(reactor).wait(60)


def test_the_thread_that_twisted_knows_of_stays_what_it_was(reactor: PrivateReactor) -> None:
    before = threadable.ioThread
    assert asked(reactor).wait(60)
    assert threadable.ioThread == before


def test_the_threads_that_look_up_names_keep_no_program(reactor: PrivateReactor) -> None:
    daemons: list[bool] = []
    reactor.callFromThread(
        reactor.callInThread, lambda: daemons.append(threading.current_thread().daemon)
    )
    wait_until(lambda: daemons)
    assert daemons == [True]
