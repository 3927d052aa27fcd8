"""
Who owns which mailbox: the process that was the last to receive from it.

An owner is told of the changes to the members of its mailboxes, before any message
that came after them.
"""

from __future__ import annotations

from chanserv.layers.ipc import wire
from chanserv.layers.ipc.hub_store import HubStore
from chanserv.layers.ipc.sessions import Session


class Owners:
    """
    The owners of one hub.

    @ivar by_mailbox: the owner of each mailbox that has one.
    @ivar roster: how many guests own mailboxes.
    @ivar roster_is_due: whether that may be another than was told.
    """

    def __init__(self, store: HubStore, by_mailbox: dict[str, Session]) -> None:
        """
        @param by_mailbox: where to write them down; the store looks there, too.
        """
        self._store = store
        self.by_mailbox = by_mailbox
        self.roster = 0
        self.roster_is_due = False

    def own(self, session: Session, mailbox: str) -> None:
        """Make C{session} the owner of C{mailbox}, and tell it the members."""
        former = self.by_mailbox.get(mailbox)
        if former is not None:
            former.mailboxes.discard(mailbox)
            former.sink.change(mailbox, wire.GONE, [])
        self.by_mailbox[mailbox] = session
        session.mailboxes.add(mailbox)
        self.roster_is_due = True
        if former is None and self._store.knows_all_changes(mailbox):
            # Nobody has been told of any: then messages that wait find the
            # members of their own time.
            session.sink.change(mailbox, wire.RESET, [])
            self._store.changed.add(mailbox)
            return
        self._store.changed.discard(mailbox)
        session.sink.change(mailbox, wire.RESET, self._store.standing(mailbox))

    def disown(self, mailbox: str, heir: Session | None, now: float) -> int:
        """
        End the ownership of one that is gone.

        @param heir: the next who waits for the mailbox; where there is none, it
            is removed.
        @return: how many messages were lost with it.
        """
        del self.by_mailbox[mailbox]
        self.roster_is_due = True
        if heir is not None:
            self.own(heir, mailbox)
            return 0
        return self._store.remove_mailbox(mailbox, now)

    def publish(self) -> None:
        """Tell owners of the changes to their mailboxes."""
        store = self._store
        changed, store.changed = store.changed, set()
        for mailbox in changed:
            owner = self.by_mailbox.get(mailbox)
            if owner is None or owner.is_paused:
                # Told when there is one, and when it listens.
                continue
            changes = store.changes(mailbox)
            drained = 0 if store.holds_any(mailbox) else wire.DRAINED
            if changes is None:
                owner.sink.change(mailbox, wire.RESET | drained, store.standing(mailbox))
            elif changes:
                owner.sink.change(mailbox, drained, changes)

    def reset(self) -> None:
        """Tell all owners that there are no members any more."""
        for mailbox, owner in self.by_mailbox.items():
            owner.sink.change(mailbox, wire.RESET, [])

    def tell_roster(self, sessions: set[Session]) -> None:
        """Tell all C{sessions} how many guests own mailboxes."""
        self.roster_is_due = False
        roster = sum(not one.is_host and bool(one.mailboxes) for one in sessions)
        if roster != self.roster:
            self.roster = roster
            for session in sessions:
                # One that does not read is told when it does.
                if not session.is_paused:
                    session.sink.roster(roster)
