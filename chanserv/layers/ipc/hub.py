"""
The hub: one store for the processes of a machine, and who of them waits for what.

No sockets here.  Each process that takes part, the host itself too, has a
L{Session}; it has its operations performed, and gets its deliveries and the
changes to its mailboxes through its L{Sink}.

B{Fairness.}  A process gets messages against its receives only, and no more
bytes at once than L{DELIVERY_BYTES} or one message, whichever is more.  One that
does not read has its session paused: then its receives are passed over, as if it
had not asked, and everyone else is served.

B{Succession.}  A hub that follows another is closed at first: it takes no more
than what those who had mailboxes there put back, until all of them have, or for a
short time.  So nobody sends to a group whose members are not there again.

B{Death.}  L{Hub.leave} ends a session: what it had on lease was lost, or goes
back to the front; the mailboxes that it received from are removed, with the
memberships that led there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from chanserv.core.deadlines import NEVER
from chanserv.core.ledger import Ledger
from chanserv.core.mailbox import Parcel
from chanserv.core.readers import Readers
from chanserv.errors import ChannelLayerError
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.hub_store import HubStore, data_of
from chanserv.layers.ipc.options import HubOptions
from chanserv.layers.ipc.owners import Owners
from chanserv.layers.ipc.sessions import HubReader, Session, Sink
from chanserv.layers.ipc.store_operations import StoreOperations
from chanserv.messages import Outcome
from chanserv.names import mailbox_of

DELIVERY_BYTES: Final = 1024 * 1024
"""Bytes of messages that one receive gets at once, though it may take one message
more: what is on its way to each process stays small, and a large message keeps
the others waiting for no longer than it takes to copy it."""

SERVED_AT_ONCE: Final = 1_000
"""Receives served before the reactor gets a turn: two readers within the host
that answer each other would otherwise never let it go on."""

LOAD_INTERVAL: Final = 1.0
"""Seconds between two times that all are told how much waits in the hub: what the
next hub counts as lost, should this one die, is right to within that time."""

LEAST_WAIT: Final = 0.1
"""Seconds between two looks for what has expired in an idle hub."""


class Hub:
    """
    See the module.

    After L{perform}, L{leave}, L{pause} or L{resume} the caller calls L{attend},
    which serves those who wait.

    @ivar is_open: whether operations are to be performed, those of
        L{wire.PUT_BACK} aside, which always are.
    @ivar is_closed: whether the hub has ended; nothing may be performed.
    """

    def __init__(
        self, options: HubOptions, clock: IReactorTime, expected: int = 0, waited: int = 0
    ) -> None:
        """
        @param clock: tells the hub's time, and sets the timer for what expires.
        @param expected: how many guests have something to put back; the hub is
            open when they have, or when it is told to.
        @param waited: how many messages were lost with the hub before.  Those
            that guests report are among them, as far as there are so many.
        """
        self.is_open = expected <= 0
        self._expected = expected
        self._openings: list[Callable[[], None]] = []
        self._clock = clock
        self._readers: Readers[HubReader] = Readers()
        owners: dict[str, Session] = {}
        self._ledger: Ledger[Session, Parcel] = Ledger()
        self._sessions: set[Session] = set()
        self._store = HubStore(
            options.expiry,
            options.group_expiry,
            options.capacities(),
            options.max_message_size,
            self._readers.by_mailbox,
            options.redelivers(),
            owners,
        )
        self._owners = Owners(self._store, owners)
        self._store.count_lost(waited)
        self._unreported = waited
        self._load = 0
        self._load_timer: IDelayedCall | None = None
        self._serving = False
        self.is_closed = False
        self._timer: IDelayedCall | None = None
        self._timer_at = NEVER
        ours = StoreOperations(self._store, self._ledger)
        # By the codes of wire.
        self._table: tuple[Callable[..., Any], ...] = (
            ours.send,
            ours.send_group,
            ours.forget,
            ours.batch,
            ours.settle,
            self._receive,
            self._cancel,
            ours.give_back,
            ours.group_add,
            ours.group_discard,
            ours.group_channels,
            self._flush,
            ours.totals,
            ours.counts,
            self._put_back,
            self._leave,
            self._receive_now,
        )

    def now(self) -> float:
        """The hub's time."""
        return self._clock.seconds()

    def when_open(self, call: Callable[[], None]) -> None:
        """Call C{call} when the hub opens.  For a hub that is not open."""
        self._openings.append(call)

    def open(self) -> None:
        """Be open, whoever is still missing."""
        if not self.is_open and not self.is_closed:
            self.is_open = True
            openings, self._openings = self._openings, []
            for call in openings:
                call()

    def join(self, sink: Sink, name: str, is_host: bool = False) -> Session:
        """
        Let a process take part.

        @param name: what the log calls it.
        @param is_host: whether it is the one that has the hub.
        """
        session = Session(sink, name, is_host)
        self._sessions.add(session)
        sink.roster(self._owners.roster)
        if self._load:
            sink.load(self._load)
        return session

    def leave(self, session: Session) -> int:
        """
        End the part of a process that is gone.

        @return: how many messages were lost with it.
        """
        if session not in self._sessions:
            return 0
        self._sessions.discard(session)
        for reader in session.readers.values():
            self._readers.remove(reader)
        session.readers.clear()
        now = self.now()
        lost = self._lose(self._ledger.abandon(session), now)
        for mailbox in session.mailboxes:
            heirs = self._readers.by_mailbox.get(mailbox, ())
            heir = next((reader.session for reader in heirs), None)
            lost += self._owners.disown(mailbox, heir, now)
        return lost

    def perform(
        self, session: Session, operations: Sequence[wire.Operation]
    ) -> list[tuple[int, tuple[int, Any]]]:
        """
        Do C{operations} in their order.

        @return: the results other than "done", with the indices of their
            operations: (L{wire.ERROR}, error as written) or (L{wire.VALUE}, value).
        """
        results: list[tuple[int, tuple[int, Any]]] = []
        table = self._table
        now = self.now()
        for index, operation in enumerate(operations):
            try:
                value = table[operation[0]](session, now, *operation[1:])
            except ChannelLayerError as error:
                results.append((index, (wire.ERROR, wire.written_error(error))))
            else:
                if value is not None:
                    results.append((index, (wire.VALUE, value)))
        return results

    def pause(self, session: Session) -> None:
        """Deliver nothing to a process for the time being."""
        if not session.is_paused:
            session.is_paused = True
            for reader in session.readers.values():
                self._readers.remove(reader)

    def resume(self, session: Session) -> None:
        """Deliver to it again."""
        if not session.is_paused or session not in self._sessions:
            return
        session.is_paused = False
        session.sink.roster(self._owners.roster)
        session.sink.load(self._load)
        for reader in list(session.readers.values()):
            self._readers.add(reader)
            # Something may have come for it meanwhile.
            self._store.arrived.update(dict.fromkeys(reader.channels))
        self._store.changed.update(session.mailboxes)

    def attend(self) -> None:
        """Serve the receives of what has arrived, and mind what will expire."""
        store = self._store
        if self.is_closed:
            return
        if not self.is_open and self._expected <= 0:
            # Now that who put back last has the result of that before others.
            self.open()
        if store.changed:
            self._owners.publish()
        if self._owners.roster_is_due:
            self._owners.tell_roster(self._sessions)
        if store.arrived and not self._serving:
            self._serve()
        if store.due < self._timer_at:
            self._set_timer()
        if self._load_timer is None and self.pending() != self._load:
            self._load_timer = self._clock.callLater(LOAD_INTERVAL, self._tell_load)

    def pending(self) -> int:
        """How many messages wait, and are on lease."""
        return self._store.pending + len(self._ledger)

    def close(self) -> None:
        """Forget everything; say nothing to anyone."""
        self.is_closed = True
        self._sessions.clear()
        self._owners.by_mailbox.clear()
        self._ledger.clear()
        self._readers.remove_all()
        self._store.clear()
        for timer in (self._timer, self._load_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._load_timer = None

    # Operations

    def _receive(
        self, session: Session, now: float, number: int, channels: tuple[str, ...], limit: int
    ) -> None:
        if self._receive_now(session, now, number, channels, limit):
            return
        reader = HubReader(session, number, channels, limit)
        session.readers[number] = reader
        if not session.is_paused:
            self._readers.add(reader)

    def _receive_now(
        self, session: Session, now: float, number: int, channels: tuple[str, ...], limit: int
    ) -> bool | None:
        """Deliver what there is; return whether there was any."""
        for name in channels:
            if name[-1] == "!" and self._owners.by_mailbox.get(name) is not session:
                self._owners.own(session, name)
        if session.is_paused:
            return None
        parcels = self._collect(channels, limit, now)
        if not parcels:
            return None
        self._hand(session, number, parcels, now)
        return True

    def _cancel(self, session: Session, _now: float, number: int) -> None:
        reader = session.readers.pop(number, None)
        if reader is not None:
            self._readers.remove(reader)

    def _flush(self, _session: Session, _now: float) -> None:
        self._store.clear()
        self._ledger.clear()
        for session in self._sessions:
            session.sink.flushed()
        self._owners.reset()

    def _put_back(
        self,
        session: Session,
        now: float,
        mailboxes: dict[str, Sequence[tuple[str, str, float]]],
        receipts: Sequence[str],
        lost: int,
    ) -> None:
        for mailbox, memberships in mailboxes.items():
            self._store.put_back_members(mailbox, memberships, now)
            self._owners.own(session, mailbox)
        for receipt in receipts:
            self._store.put_receipt(receipt, Outcome.LOST, now)
        among = min(lost, self._unreported)
        self._unreported -= among
        self._store.count_lost(lost - among)
        if mailboxes and not session.is_host:
            # The next to attend opens.
            self._expected -= 1

    def _leave(self, session: Session, _now: float) -> None:
        self.leave(session)

    # Serving

    def _serve(self) -> None:
        """Serve receives that have something, one after the other."""
        self._serving = True
        try:
            for _ in range(SERVED_AT_ONCE):
                # One at a time: what the host's own process does with its
                # messages may concern the next.
                if not self._serve_next():
                    return
        finally:
            self._serving = False
        self._clock.callLater(0, self.attend)

    def _serve_next(self) -> bool:
        """Serve one receive; return whether there was one."""
        arrived = self._store.arrived
        while arrived:
            name, _ = arrived.popitem()
            reader = self._readers.first(name)
            if reader is None:
                continue
            now = self.now()
            parcels = self._collect(reader.channels, reader.limit, now)
            if parcels:
                # There may be more, for the next.
                arrived[name] = None
                self._readers.remove(reader)
                del reader.session.readers[reader.number]
                self._hand(reader.session, reader.number, parcels, now)
                return True
        return False

    def _collect(self, channels: Sequence[str], limit: int, now: float) -> list[Parcel]:
        """Take what one receive may have at once."""
        store = self._store
        if store.changed:
            # The owners hear of changes before the messages that came after,
            # and while these still count as waiting.
            self._owners.publish()
        return store.take_portion(channels, limit, DELIVERY_BYTES, now)

    def _hand(self, session: Session, number: int, parcels: list[Parcel], now: float) -> None:
        store, ledger = self._store, self._ledger
        items = []
        for parcel in parcels:
            if len(parcel[1]) > 1 and self._owners.by_mailbox.get(parcel[1][0]) is not session:
                # It waited for this mailbox before another did, who owns it now.
                self._owners.own(session, parcel[1][0])
            lease = ledger.lease(session, parcel) if store.is_leased(parcel) else 0
            items.append(wire.Item(parcel[0], parcel[1], data_of(parcel), lease))
        session.sink.deliver(number, now, items)

    def _lose(self, parcels: list[Parcel], now: float) -> int:
        """Settle leases as lost; return how many were, and not put back."""
        store = self._store
        back = [parcel for parcel in parcels if mailbox_of(parcel[1][0]) in store.redelivers]
        lost = [parcel for parcel in parcels if mailbox_of(parcel[1][0]) not in store.redelivers]
        for parcel in lost:
            store.settle(parcel, Outcome.LOST, now)
        # From the last to the first, for each goes to the very front.
        for parcel in reversed(back):
            store.settle(parcel, Outcome.LOST, now)
        return len(lost)

    # Time

    def _tell_load(self) -> None:
        """The timer: tell all what would be lost with this hub."""
        self._load_timer = None
        self._load = self.pending()
        for session in self._sessions:
            # One that does not read is told when it does, and not each time.
            if not session.is_paused:
                session.sink.load(self._load)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._store.due
        wait = max(self._timer_at - self.now(), LEAST_WAIT)
        self._timer = self._clock.callLater(wait, self._expire)

    def _expire(self) -> None:
        """The timer: something may have expired while nobody came by."""
        self._timer = None
        self._timer_at = NEVER
        self._store.expire(self.now())
        self.attend()
