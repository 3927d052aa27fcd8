"""
A team of threads that runs an application's consumers.

How a message passes through::

    reactor's thread                          a thread of the team
    ----------------                          --------------------
    layer.receive(limit = idle threads)
      -> deliveries -> one queue     ------>  application.run(...)
    finished runs are gathered      <------   the run joins a list; the first to
      -> one layer.send_batch(...)            do so wakes the reactor
      -> layer.receive again

The reactor is woken once for all runs that finish until it gets round to them,
and what they sent goes to the layer in one trip, together with the news that
their messages are settled.  So under load the cost of switching threads, of
waking the reactor and of the trip is shared by many messages, while a message
that comes alone waits for nothing.

The team asks its layer for no more messages than it has idle threads.  What it
cannot run yet stays on the layer, where other workers can take it, where it
counts towards its channel's capacity, and where it expires.

A team that is I{alone}, with a layer that nobody else reads and that ends with
this process, does better.  It takes some messages ahead: then a thread that is
done finds its next message at once, without waiting for the reactor, and the
reactor has more to do on each turn; these expire as they would on the layer.
And a stop runs what waits on the layer, which nobody could run later.

A message that its consumer puts off (C{ConsumeLater}) stays with the team,
unsettled, until it is due: so its connection's next event waits for it, and if
this worker dies meanwhile, the layer knows that it was lost.  Only when the team
stops does it go back on its channel, for another worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from chanserv.errors import ConfigurationError
from chanserv.interfaces import IApplication, IChannelLayer
from chanserv.messages import Delivery, Outcome
from chanserv.worker.answers import answer_to_dropped
from chanserv.worker.counters import TeamCounters
from chanserv.worker.dispatch import Dispatch
from chanserv.worker.intake import Intake
from chanserv.worker.reactor import TeamReactor
from chanserv.worker.record import Record
from chanserv.worker.retries import RETRIES_KEY, postponement
from chanserv.worker.runs import Ending, Run
from chanserv.worker.status import WorkerState, WorkerStatus
from chanserv.worker.threads import Threads, start_daemon_thread

DEFAULT_THREADS: Final = 4
"""Threads of a team: enough that a few slow queries do not stop a small site, few
enough that they do not fight over the interpreter's lock."""

MAX_THREADS: Final = 1000
"""Threads that a team may have: past some dozens they only wait for each other,
and each may hold a connection to the database.  More is a slip of the keyboard."""

DEFAULT_STOP_TIMEOUT: Final = 10.0
"""Seconds that stopping waits for consumers: what container and process
supervisors commonly give before they kill."""

AHEAD: Final = 16
"""Messages that a team takes ahead when it is alone.  A request of a
small Django view then costs 100 us of processor, and without 150; twice as
many add little more."""

SHORTEST_STOP: Final = 1.0
"""Seconds that a stop waits for consumers in any case: those of the sockets that
have just been closed."""

MAX_POSTPONED: Final = 256
"""How many messages may be put off at once.  With more than this, nothing new is
taken until some come due, which is within two seconds."""

MAX_TRIPS: Final = 64
"""How many batches may be on their way to a slow layer before nothing new is taken,
so that replies cannot pile up here without bound."""


class ThreadTeam(Service):
    """
    Runs an application's consumers in threads of this process.

    All methods are called on the reactor's thread.

    @ivar counters: what the team has done.
    """

    _log: ClassVar = Logger(namespace="chanserv.worker")

    def __init__(
        self,
        layer: IChannelLayer,
        application: IApplication,
        reactor: TeamReactor,
        threads: int = DEFAULT_THREADS,
        *,
        alone: bool = False,
        stop_timeout: float = DEFAULT_STOP_TIMEOUT,
        start_thread: Callable[[Callable[[], None], str], object] = start_daemon_thread,
    ) -> None:
        """
        @param layer: where messages come from and replies go.
        @param application: whose consumers run.
        @param reactor: the reactor, for time and to come back from threads.
        @param threads: how many consumers run at once; 1 to L{MAX_THREADS}.
        @param alone: whether nobody else reads the layer, and it ends with this
            process.
        @param stop_timeout: seconds that L{stopService} waits for what runs.
        @param start_thread: starts a thread of the given function and name.
        @raise ConfigurationError: C{threads} is out of range.
        """
        if not 1 <= threads <= MAX_THREADS:
            raise ConfigurationError(f"a team has 1 to {MAX_THREADS} threads, not {threads}")
        self.counters = TeamCounters()
        self._record = Record()
        self.threads = threads
        self._layer = layer
        self._application = application
        self._reactor = reactor
        self._alone = alone
        self._stop_timeout = stop_timeout
        self._stop_begun: float | None = None
        self._start_thread = start_thread
        self._begin()

    def _begin(self) -> None:
        """Set what lasts from one start of the team to its stop."""
        team = self._team = Threads(
            self._application,
            self._reactor.callFromThread,
            self._returned,
            lambda: self._threads_ended(team),
            self._reactor.seconds,
        )
        self._dispatch = Dispatch(self._layer, self._reactor, self.counters, self._progress)
        self._intake = Intake(self._layer, self._reactor, self._room, self._received)
        self._channels: Sequence[str] = ()
        self._ignored: frozenset[str] = frozenset()
        self._taken: set[Run] = set()
        self._postponed: dict[Run, IDelayedCall] = {}
        self._stopped: Deferred[None] | None = None
        self._patience: IDelayedCall | None = None

    @property
    def busy(self) -> int:
        """How many threads have something to run."""
        return min(self.threads, len(self._taken))

    @property
    def channels(self) -> list[str]:
        """The channels that it takes messages from, in the order of their names."""
        return sorted(self._application.channel_names())

    def status(self, slot: int = 0, release: str = "") -> WorkerStatus:
        """
        Say what the team does, and has done.

        @param slot: see L{WorkerStatus}; so is C{release}.
        """
        state = WorkerState.RUNNING if self.running else WorkerState.LOADED
        if self._stopped is not None:
            state = WorkerState.DRAINING
        known = self._record.status(
            state, self.threads, self._taken, self.counters, self._reactor.seconds()
        )
        return replace(known, slot=slot, release=release, channels=tuple(self._channels))

    def startService(self) -> None:
        """Start the threads, and take the first messages."""
        self._begin()
        super().startService()  # type: ignore[no-untyped-call]
        self._channels = self.channels
        self._ignored = self._application.ignored_channels()
        self._team.start(
            [f"chanserv-{number}" for number in range(1, self.threads + 1)], self._start_thread
        )
        self._intake.begin(self._channels)
        if not self._channels:
            self._log.warn("The site has no consumers, so its worker threads have nothing to do")

    def stop_begins(self) -> None:
        """
        Say that what the team is part of has begun to stop: the time that it
        may take begins now, and not only with L{stopService}.
        """
        self._stop_begun = self._reactor.seconds()

    def stop_within(self, seconds: float) -> None:
        """
        Have the next stop, or the one that is under way, wait for consumers for so
        many seconds; one under way for no longer than it would.
        """
        self._stop_timeout = seconds
        if self._stopped is not None and self._patience is not None and self._patience.active():
            left = self._patience.getTime() - self._reactor.seconds()
            self._patience.reset(min(left, seconds))

    def stopService(self) -> Deferred[None]:
        """
        Take nothing more; finish what runs; send what it sent; end the threads.

        A team that is alone first takes and runs what waits on the layer.

        @return: fires when that is done, or the time-out has passed: then the
            consumers that still run are named in the log and left behind, and
            their messages are settled as lost.  While the team stops, each
            further call gives a Deferred that fires with the first.
        """
        if self._stopped is not None:
            also = Deferred[None]()
            self._stopped.chainDeferred(also)
            return also
        if not self.running:
            return succeed(None)
        super().stopService()  # type: ignore[no-untyped-call]
        stopped = self._stopped = Deferred[None]()
        self._patience = self._reactor.callLater(self._time_to_stop(), self._leave_behind)
        if not self._alone:
            self._take_no_more()
        self._progress()
        return stopped

    # Taking messages

    def _room(self) -> int:
        """How many messages may be taken now; 0 or less for none."""
        if self._dispatch.trips >= MAX_TRIPS or len(self._postponed) >= MAX_POSTPONED:
            return 0
        return self.threads + (AHEAD if self._alone else 0) - len(self._taken)

    def _received(self, deliveries: list[Delivery]) -> None:
        deadline = self._reactor.seconds() + self._layer.expiry
        ignored = self._ignored
        for delivery in deliveries:
            if delivery.channel in ignored:
                self.counters.ignored += 1
                delivery.settle()
            else:
                self._hand_out(Run(delivery, deadline))

    def _hand_out(self, run: Run) -> None:
        self._taken.add(run)
        self._team.put(run)

    # Runs that have ended

    def _returned(self, runs: list[Run]) -> None:
        """Threads have finished C{runs}."""
        counters = self.counters
        counters.runs += len(runs)
        settled: list[Delivery] = []
        unfinished: list[tuple[Delivery, Outcome]] = []
        for run in runs:
            self._taken.discard(run)
            self._record.add(run)
            match run.ending:
                case Ending.DONE:
                    settled.append(run.delivery)
                case Ending.FAULT:
                    counters.failures += 1
                    settled.append(run.delivery)
                case Ending.EXPIRED:
                    counters.runs -= 1
                    counters.expired += 1
                    unfinished.append((run.delivery, Outcome.EXPIRED))
                case Ending.LATER if not self._postpone(run):
                    unfinished.append((run.delivery, Outcome.EXPIRED))
        self._dispatch.send(runs, settled)
        for delivery, outcome in unfinished:
            delivery.settle(outcome)
        self._progress()

    def _postpone(self, run: Run) -> bool:
        """
        Have the message of C{run} handed out again in a while.

        @return: whether that will happen; if not, the message is dropped.
        """
        again = run.again()
        delay = postponement(again.postponed)
        if delay is None:
            self._drop(run)
            return False
        self.counters.postponed += 1
        self._postponed[again] = self._reactor.callLater(delay, self._due, again)
        if not self._intake.open:
            self._give_back()
        return True

    def _due(self, run: Run) -> None:
        # Perhaps no thread is idle.  Then it is the next to be run, before
        # anything new is taken.
        del self._postponed[run]
        self._hand_out(run)
        self._intake.ask()

    def _drop(self, run: Run) -> None:
        """Give up on a message that is always put off; its client hears of it."""
        self.counters.dropped += 1
        delivery = run.delivery
        origin = run.origin
        self._log.warn(
            "A message from channel {channel!r}"
            + origin.note
            + " was dropped: {consumer} has put it off {count} times (ConsumeLater)",
            channel=delivery.channel,
            count=run.postponed,
            **origin.fields,
        )
        operations = run.outbox.operations
        answer = answer_to_dropped(delivery.channel, delivery.message, operations)
        if answer is not None:
            operations.append(answer)

    # Stopping

    def _progress(self) -> None:
        """Something has ended: go on with taking, or with stopping."""
        self._intake.ask()
        if self._stopped is None or self._taken or not self._dispatch.idle:
            return
        if self._intake.open and self._intake.waits:
            # The layer has nothing to give: all that waited on it has been run.
            self._take_no_more()
        if not self._intake.open and self._dispatch.idle:
            self._team.end()

    def _take_no_more(self) -> None:
        self._intake.end()
        self._give_back()

    def _give_back(self) -> None:
        """Put messages that wait to be run again back on their channels."""
        postponed, self._postponed = self._postponed, {}
        for run, call in postponed.items():
            call.cancel()
            delivery = run.delivery
            run.outbox.send(delivery.channel, {**delivery.message, RETRIES_KEY: run.postponed})
        if postponed and self._alone:
            self._log.warn(
                "Stopping with {count} messages that consumers have put off (ConsumeLater): no "
                "other worker can take them, and they are lost with this process",
                count=len(postponed),
            )
        if postponed:
            self._dispatch.send(list(postponed), [run.delivery for run in postponed])

    def _time_to_stop(self) -> float:
        if self._stop_begun is None:
            return self._stop_timeout
        passed = self._reactor.seconds() - self._stop_begun
        self._stop_begun = None
        return max(self._stop_timeout - passed, min(SHORTEST_STOP, self._stop_timeout))

    def _leave_behind(self) -> None:
        """The time for stopping has passed: settle what can be, and say so."""
        self._take_no_more()
        unbegun = self._team.take_back()
        if unbegun:
            self._log.warn("Stopping without {count} messages not yet begun", count=len(unbegun))
        for run in unbegun:
            self._taken.discard(run)
            run.delivery.settle(Outcome.LOST)
        for run in self._taken:
            origin = run.origin
            self._log.warn(
                "Stopping without {consumer}, which still runs on a message from channel "
                "{channel!r}" + origin.note,
                channel=run.delivery.channel,
                **origin.fields,
            )
            run.delivery.settle(Outcome.LOST)
        self._dispatch.give_up()
        self._team.end()
        self._finish()

    def _threads_ended(self, team: Threads) -> None:
        # Perhaps the last of an earlier start, left behind by the stop after it.
        if self._stopped is not None and team is self._team:
            self._finish()

    def _finish(self) -> None:
        stopped, self._stopped = self._stopped, None
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        if stopped is not None:
            stopped.callback(None)
