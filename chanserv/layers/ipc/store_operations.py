"""Operations that concern the store alone, and no receive that waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chanserv.core.ledger import Ledger
from chanserv.core.mailbox import Parcel
from chanserv.errors import ChannelFull, ChannelLayerError
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.hub_store import Body, HubStore, as_message
from chanserv.layers.ipc.sessions import Session
from chanserv.names import mailbox_of


class StoreOperations:
    """
    What guests ask of the store, by the codes of L{wire}.

    Each method is given the session that asks, the hub's time, and the
    arguments of its operation.
    """

    def __init__(self, store: HubStore, ledger: Ledger[Session, Parcel]) -> None:
        self._store = store
        self._ledger = ledger
        # Those that a batch may hold, by their codes.
        self._batched = (self.send, self.send_group, self.forget)

    def send(
        self,
        _session: Session,
        now: float,
        channel: str,
        size: int,
        data: bytes,
        receipt: str | None,
    ) -> None:
        """See L{wire.SEND}."""
        self._store.put(channel, as_message(Body(data, size)), receipt, now)

    def send_group(self, _session: Session, now: float, group: str, size: int, data: bytes) -> None:
        """See L{wire.SEND_GROUP}."""
        self._store.put_group(group, as_message(Body(data, size)), now)

    def forget(self, _session: Session, now: float, channel: str) -> None:
        """See L{wire.FORGET}."""
        self._store.forget(channel, now)

    def batch(
        self,
        session: Session,
        now: float,
        operations: Sequence[wire.Operation],
        settled: Sequence[tuple[int, int]],
        goes_on: bool,
    ) -> list[tuple[int, Any]] | None:
        """
        See L{wire.BATCH}.

        A reader may have made room since the part of the batch before this: what
        was full then is full for the rest, see L{chanserv.core.batch}.
        """
        full = session.full
        if not goes_on:
            full.clear()
        failed = []
        for index, operation in enumerate(operations):
            if full and operation[0] == wire.SEND:
                error = full.get(mailbox_of(operation[1]))
                if error is not None:
                    failed.append((index, error))
                    continue
            try:
                self._batched[operation[0]](session, now, *operation[1:])
            except ChannelLayerError as refusal:
                written = wire.written_error(refusal)
                failed.append((index, written))
                if isinstance(refusal, ChannelFull):
                    full[refusal.channel] = written
        if settled:
            self.settle(session, now, settled)
        return failed or None

    def settle(self, session: Session, now: float, settled: Sequence[tuple[int, int]]) -> None:
        """See L{wire.SETTLE}."""
        for lease, outcome in settled:
            parcel = self._ledger.settle(session, lease)
            if parcel is not None:
                self._store.settle(parcel, wire.OUTCOMES[outcome], now)

    def give_back(self, session: Session, now: float, item: Sequence[Any]) -> None:
        """See L{wire.GIVE_BACK}."""
        deadline, recipients, data, lease = item
        if lease:
            leased = self._ledger.settle(session, lease)
            if leased is not None:
                self._store.put_back(leased)
        else:
            body = as_message(Body(data, len(data)))
            self._store.put_back((deadline, recipients, body, None))

    def group_add(self, _session: Session, now: float, group: str, channel: str) -> None:
        """See L{wire.GROUP_ADD}."""
        self._store.add_member(group, channel, now)

    def group_discard(self, _session: Session, now: float, group: str, channel: str) -> None:
        """See L{wire.GROUP_DISCARD}."""
        self._store.discard_member(group, channel, now)

    def group_channels(self, _session: Session, now: float, group: str) -> list[str]:
        """See L{wire.GROUP_CHANNELS}."""
        return self._store.members(group, now)

    def totals(self, _session: Session, now: float) -> dict[str, int]:
        """See L{wire.TOTALS}."""
        return dict(self._store.totals(now))

    def counts(self, _session: Session, now: float, mailbox: str) -> dict[str, int]:
        """See L{wire.COUNTS}."""
        return dict(self._store.counts(mailbox, now))
