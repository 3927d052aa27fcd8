"""
A channel layer within one process, as small as one gets.

L{SmallLayer} has what the bare ASGI 1 specification asks for; L{SettlingLayer}
also tells senders what became of their messages.
"""

from functools import partial, wraps

from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred, succeed
from zope.interface import implementer

from chanserv.core.capacity import Capacities
from chanserv.core.deadlines import NEVER
from chanserv.core.patterns import RedeliveredNames
from chanserv.core.store import Store
from chanserv.errors import ChannelLayerError, InvalidMessage, LayerUnavailable
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Delivery, Forget, GroupSend, Send, seal
from chanserv.names import (
    check_all_receivable,
    check_channel,
    check_group,
    check_receipt,
    made_up,
    mailbox_of,
)


def answered(method):
    """Answer by a Deferred whatever happens, and then serve who waits."""

    @wraps(method)
    def answering(self, *args, **kwargs):
        if self._closed:
            return fail(closed())
        answer = maybeDeferred(method, self, *args, **kwargs)
        self._serve()
        return answer

    return answering


def closed():
    """What every call on a closed layer fails with."""
    return LayerUnavailable("this channel layer has been closed: make another")


def error_of(failure):
    """What a batch says of an operation that failed."""
    failure.trap(ChannelLayerError)
    return failure.value


@implementer(IChannelLayer)
class SmallLayer:
    """Messages wait in a store, and readers in a dict."""

    extensions = ("groups", "flush", "statistics")
    settles = False
    within_process = True

    def __init__(
        self,
        clock,
        expiry=60.0,
        group_expiry=86_400.0,
        capacity=100,
        channel_capacity=None,
        mailbox_capacity=10_000,
        max_message_size=4 * 1024 * 1024,
        redeliver=None,
    ):
        self.expiry, self.group_expiry = expiry, group_expiry
        self._store = Store(
            expiry,
            group_expiry,
            Capacities(capacity, mailbox_capacity, channel_capacity),
            max_message_size,
            redelivers=RedeliveredNames(redeliver),
        )
        self._clock, self._now = clock, clock.seconds
        self._readers = {}
        self._closed = False

    @classmethod
    def for_reactor(cls, reactor, **config):
        return cls(reactor, **config)

    # Sending

    @answered
    def send(self, channel, message, receipt=None):
        self._store.put(check_channel(channel), seal(message), None, self._now())

    @answered
    def send_group(self, group, message):
        self._store.put_group(check_group(group), seal(message), self._now())

    @answered
    def _forget(self, channel):
        self._store.forget(check_channel(channel), self._now())

    @answered
    def send_batch(self, operations, settled=()):
        return gatherResults([self._do(one).addErrback(error_of) for one in operations])

    def _do(self, operation):
        match operation:
            case Send(channel, message, receipt):
                return self.send(channel, message, receipt)
            case GroupSend(group, message):
                return self.send_group(group, message)
            case Forget(channel):
                return self._forget(channel)
        return fail(InvalidMessage("operation", f"is none that a batch can hold: {operation!r}"))

    # Receiving

    @answered
    def receive(self, channels, limit=1):
        reader = Deferred(self._readers.pop)
        self._readers[reader] = check_all_receivable(channels), limit
        return reader

    def _serve(self):
        for reader, (names, limit) in list(self._readers.items()):
            if reader in self._readers and (parcels := self._store.take(names, limit, self._now())):
                del self._readers[reader]
                reader.callback([self._delivery(parcel) for parcel in parcels])

    def _delivery(self, parcel):
        _, recipients, message, _ = parcel
        return Delivery(recipients, message)

    @answered
    def new_channel(self, pattern):
        return made_up(pattern)

    # Groups

    @answered
    def group_add(self, group, channel):
        self._store.add_member(check_group(group), check_channel(channel), self._now())

    @answered
    def group_discard(self, group, channel):
        self._store.discard_member(check_group(group), check_channel(channel), self._now())

    @answered
    def group_channels(self, group):
        return self._store.members(check_group(group), self._now())

    # Bookkeeping

    @answered
    def global_statistics(self):
        return self._store.totals(self._now())

    @answered
    def channel_statistics(self, channel):
        return self._store.counts(mailbox_of(check_channel(channel)), self._now())

    @answered
    def flush(self):
        self._store.clear()

    def close(self):
        self._closed = True
        self._store.clear()
        while self._readers:
            reader, _ = self._readers.popitem()
            reader.errback(closed())
        self._serve()
        return succeed(None)


class SettlingLayer(SmallLayer):
    """The same with receipts."""

    settles = True
    _timer = None

    @answered
    def send(self, channel, message, receipt=None):
        if receipt is not None:
            check_receipt(receipt)
        self._store.put(check_channel(channel), seal(message), receipt, self._now())

    def send_batch(self, operations, settled=()):
        done = super().send_batch(operations)
        for delivery in settled:
            delivery.settle()
        return done

    def _delivery(self, parcel):
        _, recipients, message, _ = parcel
        if self._store.is_leased(parcel):
            return Delivery(recipients, message, partial(self._settle, parcel))
        return Delivery(recipients, message)

    def _settle(self, parcel, outcome):
        if not self._closed:
            self._store.settle(parcel, outcome, self._now())
            self._serve()

    def _serve(self):
        self._store.expire(self._now())
        super()._serve()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._store.due != NEVER:
            wait = max(0.0, self._store.due - self._now())
            self._timer = self._clock.callLater(wait, self._serve)
