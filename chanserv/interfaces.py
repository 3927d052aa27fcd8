"""
The contracts between the rooms of chanserv.

L{IChannelLayer} is the one that matters: everything else stands on either side
of it.  Each contract has one test class in C{chanserv.testing} that every
provider runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from chanserv.errors import ChannelLayerError
from chanserv.messages import Delivery, Message, Operation

if TYPE_CHECKING:
    from chanserv.worker.outbox import Outbox


class IChannelLayer(Interface):
    """
    Named first-in, first-out queues with many writers and readers.

    Each message goes to one reader, at most once.  A channel holds a bounded
    number of messages (its I{capacity}); a message that waits longer than the
    layer's I{expiry} is dropped and counted; a channel exists while it holds
    messages.  Groups are sets of channels, whose members leave after the
    I{group expiry}.

    Methods are called on the reactor's thread.  Deferreds fire there, with
    L{chanserv.errors.ChannelLayerError}s as their failures:
    L{InvalidChannelName<chanserv.errors.InvalidChannelName>} and
    L{InvalidMessage<chanserv.errors.InvalidMessage>} for bad arguments,
    L{LayerUnavailable<chanserv.errors.LayerUnavailable>} where the store is out
    of reach or the layer closed.  No method raises synchronously.

    Source: the ASGI 1 channel layer specification.
    """

    extensions: Collection[str] = Attribute(
        "The spec's names of what is supported: 'groups', 'flush', 'statistics'."
    )
    expiry: float = Attribute("Seconds after which an unread message is dropped.")
    group_expiry: float = Attribute("Seconds after which a member leaves its group.")
    settles: bool = Attribute(
        "Whether receipts are given.  Where false, 'receipt' arguments are ignored "
        "and Delivery.settle() does nothing."
    )

    def send(channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        """
        Put C{message} at the end of C{channel}.

        @param receipt: a process-specific or single-reader channel.  It gets
            one message, C{{"receipt": outcome}}, when what became of this one
            is known: see L{chanserv.messages.Outcome}.
        @return: fires when the message is in the store.  Fails with
            L{ChannelFull<chanserv.errors.ChannelFull>} or
            L{MessageTooLarge<chanserv.errors.MessageTooLarge>}.
        """

    def send_batch(
        operations: Sequence[Operation], settled: Sequence[Delivery] = ()
    ) -> Deferred[list[ChannelLayerError | None]]:
        """
        Do many operations in one trip, in their order, then settle C{settled}.

        Besides sends there is L{Forget<chanserv.messages.Forget>}, with which
        an interface server ends the memberships of a connection that is gone,
        whatever the site's consumers do or leave undone.

        One operation that fails does not keep the others back.  But once a send
        has found its channel full, the rest of the batch that goes there fails
        too: an answer in parts must not lose one from its middle.

        Where the whole trip fails, nothing of it is sent again.  What was to
        be settled is then lost, as soon as the store can be told: see
        C{LOST} in L{chanserv.messages.Outcome}.

        @return: fires with one entry for each operation: its error, or L{None}.
        """

    def receive(channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        """
        Wait for messages.

        @param channels: ordinary and single-reader channels, and mailboxes
            (names that end in C{!}); no channel with a local part.  No channel
            starves another.
        @param limit: at most this many deliveries; for a reader that can take
            a hundred, say so, and they come in one trip.
        @return: fires with at least one delivery, as soon as there is one.
            Cancelling it is safe: no message is lost, and it fails with
            L{CancelledError<twisted.internet.defer.CancelledError>}.
        """

    def new_channel(pattern: str) -> Deferred[str]:
        """
        Make up a channel name that nobody uses.

        @param pattern: ends in C{!} (a process-specific channel) or C{?} (a
            single-reader channel).
        @return: fires with C{pattern} and a random part after it.
        """

    def group_add(group: str, channel: str) -> Deferred[None]:
        """
        Make C{channel} a member of C{group}, or renew its membership.

        @return: fires when a C{send_group} by anyone who knows of that reaches
            C{channel}.
        """

    def group_discard(group: str, channel: str) -> Deferred[None]:
        """End a membership; nothing happens where there is none."""

    def group_channels(group: str) -> Deferred[list[str]]:
        """List the members of C{group}, in no order."""

    def send_group(group: str, message: Message) -> Deferred[None]:
        """
        Send C{message} to each member of C{group}.

        Members whose channel is full miss it, which the statistics count.
        """

    def flush() -> Deferred[None]:
        """Forget all messages and groups of this layer, and nothing else."""

    def global_statistics() -> Deferred[Mapping[str, int]]:
        """
        Count since the layer was made (or flushed).

        @return: fires with at least C{messages_count}, C{channel_full_count},
            C{messages_expired_count}, C{messages_lost_count},
            C{messages_pending} and C{messages_max_age} (seconds).
        """

    def channel_statistics(channel: str) -> Deferred[Mapping[str, int]]:
        """The same for one channel, or one mailbox."""

    def close() -> Deferred[None]:
        """
        Let go of all resources.  Waiting receives fail with
        L{LayerUnavailable<chanserv.errors.LayerUnavailable>}, and so does
        every later call.  May be called twice.
        """


class IBlockingChannelLayer(Interface):
    """
    A channel layer for threads and for processes that run no reactor: the
    ASGI 1 methods under the spec's exact names.

    Methods are called on any thread but the reactor's, where they raise
    L{WrongThread<chanserv.errors.WrongThread>}.  They raise what the Deferreds
    of L{IChannelLayer} fail with.
    """

    extensions: Collection[str] = Attribute("As on IChannelLayer.")
    expiry: float = Attribute("As on IChannelLayer.")
    group_expiry: float = Attribute("As on IChannelLayer.")
    settles: bool = Attribute("As on IChannelLayer.")
    ChannelFull: type[ChannelLayerError] = Attribute("The exception of a full channel.")
    MessageTooLarge: type[ChannelLayerError] = Attribute(
        "The exception of a message over the layer's limit."
    )

    def send(channel: str, message: Message, receipt: str | None = None) -> None:
        """As on L{IChannelLayer}."""

    def send_batch(operations: Sequence[Operation]) -> list[ChannelLayerError | None]:
        """As on L{IChannelLayer}."""

    def receive(
        channels: Sequence[str], block: bool = False, timeout: float | None = None
    ) -> tuple[str, dict[str, object]] | tuple[None, None]:
        """
        Take one message.  It is settled as it is handed over.

        @param block: wait for one.
        @param timeout: wait no longer than this many seconds; L{None} for the
            layer's own patience (five seconds), after which the spec lets it
            give up.
        @return: the full name of the channel and the message, the caller's to
            change; or C{(None, None)}.
        """

    def new_channel(pattern: str) -> str:
        """As on L{IChannelLayer}."""

    def group_add(group: str, channel: str) -> None:
        """As on L{IChannelLayer}."""

    def group_discard(group: str, channel: str) -> None:
        """As on L{IChannelLayer}."""

    def group_channels(group: str) -> list[str]:
        """As on L{IChannelLayer}."""

    def send_group(group: str, message: Message) -> None:
        """As on L{IChannelLayer}."""

    def flush() -> None:
        """As on L{IChannelLayer}."""

    def global_statistics() -> Mapping[str, int]:
        """As on L{IChannelLayer}."""

    def channel_statistics(channel: str) -> Mapping[str, int]:
        """As on L{IChannelLayer}."""


class IApplication(Interface):
    """
    What workers run: a site's consumers behind one callable.

    C{chanserv.django} provides one for a Django site.
    """

    def channel_names() -> frozenset[str]:
        """The names of all channels that have a consumer.  Any thread."""

    def ignored_channels() -> frozenset[str]:
        """
        Those of them whose consumer does nothing, whatever the message: a
        worker settles what comes there without a run.  Any thread.
        """

    def run(channel: str, message: dict[str, object], outbox: Outbox) -> None:
        """
        Run the consumer of one message, to its end, in the calling thread.

        @param channel: the name of the channel it came from.
        @param message: the message; the consumer may keep it, and change its
            top level.
        @param outbox: gathers what the consumer sends, and is told which
            consumer ran.  It is flushed after the return, and also after an
            exception.
        @raise ConsumeLater: hand the message out again shortly.
        @raise DenyConnection: refuse the WebSocket handshake.
        @raise Exception: anything else is a fault of the consumer: it is
            logged, and the client told.
        """
