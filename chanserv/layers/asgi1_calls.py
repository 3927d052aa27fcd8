"""
The calls of somebody else's ASGI 1 layer, checked before and translated after.

What goes in follows our rules for names and messages before the layer sees it;
what it raises comes out as one of L{chanserv.errors}.  Everything here blocks,
and may be called from any thread.

What the old layers cannot tell, or do, is made up for as far as this process
can know it:

- B{Statistics.}  A layer without that extension has the sends made through
  here counted; how much waits in it, and how much has expired, stays 0.
- B{Forget.}  The specification has no call that ends all memberships of a
  channel.  Those that were begun through here are known, and ended one by one.

Source: the ASGI 1 channel layer specification.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from twisted.logger import Logger

from chanserv.core.capacity import checked_count
from chanserv.core.defaults import EXPIRY, GROUP_EXPIRY, MAX_MESSAGE_SIZE
from chanserv.core.statistics import STATISTICS_NAMES
from chanserv.errors import (
    ChannelFull,
    ChannelLayerError,
    InvalidChannelName,
    InvalidMessage,
    LayerUnavailable,
    MessageTooLarge,
)
from chanserv.layers.asgi1_traits import error_class_of, extensions_of, seconds_of, takes_block
from chanserv.messages import (
    Forget,
    GroupSend,
    Operation,
    SealedMessage,
    Send,
    seal,
    thaw,
)
from chanserv.names import (
    check_channel,
    check_group,
    made_up,
    mailbox_of,
)

KNOWN_MEMBERS: Final = 100_000
"""Channels whose groups are remembered for C{Forget}: more than a process has
sockets, in some ten megabytes.  Past it the oldest is left to the group expiry."""

COUNTED_MAILBOXES: Final = 1_024
"""Mailboxes with counts of their own: more than a site has channels."""

_log = Logger()


class Asgi1Calls:
    """
    An ASGI 1 layer under our rules.

    @ivar name: what errors call the layer.
    @ivar extensions: those of L{IChannelLayer} that can be had.
    @ivar expiry: seconds that a message waits.
    @ivar group_expiry: seconds that a membership lasts.
    """

    def __init__(self, layer: Any, max_message_size: int = MAX_MESSAGE_SIZE) -> None:
        """
        @param layer: see L{is_asgi1_layer}.
        @param max_message_size: bytes that a message may hold.
        """
        kind = type(layer)
        self.name = f"{kind.__module__}.{kind.__qualname__}"
        self.extensions = {"groups", "flush"} & extensions_of(layer) | {"statistics"}
        self.expiry = seconds_of(layer, ("expiry", "message_expiry"), EXPIRY)
        self.group_expiry = seconds_of(layer, ("group_expiry",), GROUP_EXPIRY)
        self._layer = layer
        self._max_message_size = checked_count("max_message_size", max_message_size)
        self._counts_itself = "statistics" in extensions_of(layer)
        self._receive: Callable[..., Any] = getattr(layer, "receive", None) or layer.receive_many
        self._takes_block = takes_block(self._receive)
        self._full = error_class_of(layer, "ChannelFull")
        self._too_large = error_class_of(layer, "MessageTooLarge")
        # Reentrant: a signal may run code of the site at any moment, which sends.
        self._lock = threading.RLock()
        # Under the lock:
        self._groups_of: dict[str, set[str]] = {}
        self._totals = dict.fromkeys(STATISTICS_NAMES, 0)
        self._counts: dict[str, dict[str, int]] = {}

    # Messages

    def put(self, channel: str, message: SealedMessage) -> None:
        """
        Put one message.

        @raise ChannelLayerError: C{ChannelFull}, C{MessageTooLarge} or
            C{LayerUnavailable}.
        """
        if message.size > self._max_message_size:
            raise MessageTooLarge(channel, message.size, self._max_message_size)
        try:
            self._layer.send(channel, thaw(message))
        except Exception as error:
            if isinstance(error, self._full):
                self.count("channel_full_count", channel)
            raise self._translated(error, channel, message) from error
        self.count("messages_count", channel)

    def put_group(self, group: str, message: SealedMessage) -> None:
        """Put one message for each member; the layer goes from one to the next."""
        if message.size > self._max_message_size:
            raise MessageTooLarge(group, message.size, self._max_message_size)
        method = self._of("groups", "send_group")
        try:
            method(group, thaw(message))
        except Exception as error:
            raise self._translated(error, group, message) from error

    def attempt(self, operation: Operation) -> ChannelLayerError | None:
        """Check and do one operation; return its error, or L{None}."""
        try:
            if isinstance(operation, Send):
                self.put(check_channel(operation.channel), seal(operation.message))
            elif isinstance(operation, GroupSend):
                self.put_group(check_group(operation.group), seal(operation.message))
            elif isinstance(operation, Forget):
                self.forget(check_channel(operation.channel))
            else:
                raise InvalidMessage("operation", f"is no Send, GroupSend or Forget: {operation!r}")
        except ChannelLayerError as error:
            return error
        return None

    def take(self, names: list[str], block: bool) -> tuple[str, SealedMessage] | None:
        """
        Take one message.

        @param names: checked names to receive from; the layer may reorder them.
        @param block: wait for one as long as the layer is willing to, which
            may be not at all.
        @return: the full name of its channel and the message; L{None} if there
            is none, or it could not be used.
        @raise LayerUnavailable: the layer fails.
        """
        try:
            if block and self._takes_block:
                try:
                    channel, message = self._receive(names, block=True)
                except NotImplementedError:
                    self._takes_block = False
                    return None
            else:
                channel, message = self._receive(names)
        except Exception as error:
            raise self._translated(error) from error
        if channel is None:
            return None
        try:
            return check_channel(channel), seal(message)
        except (InvalidChannelName, InvalidMessage) as error:
            self.count("messages_lost_count", None)
            _log.warn(
                "A message that {layer} gave cannot be used, and is lost: {error}",
                layer=self.name,
                error=error,
            )
            return None

    def put_back(self, messages: Iterable[tuple[str, SealedMessage]]) -> None:
        """Put what was taken, and not used, at the end of its channels again."""
        for channel, message in messages:
            try:
                self.put(channel, message)
            except ChannelLayerError as error:
                self.lost(channel, error)

    def lost(self, channel: str, error: object) -> None:
        """Count and tell of a message that could not be put back."""
        self.count("messages_lost_count", channel)
        _log.error(
            "A message for {channel} that came when nobody waited for it is lost: {error}",
            channel=channel,
            error=error,
        )

    def new_channel(self, pattern: str) -> str:
        """
        Make up a name after C{pattern}.

        Not the layer's business: few of them know process-specific channels,
        and chance alone keeps so long a name apart.
        """
        return made_up(pattern)

    # Groups

    def add_member(self, group: str, channel: str) -> None:
        """Begin or renew a membership."""
        self._do(self._of("groups", "group_add"), group, channel)
        with self._lock:
            groups = self._groups_of.pop(channel, None) or set()
            groups.add(group)
            self._groups_of[channel] = groups
            if len(self._groups_of) > KNOWN_MEMBERS:
                del self._groups_of[next(iter(self._groups_of))]

    def discard_member(self, group: str, channel: str) -> None:
        """End a membership."""
        self._do(self._of("groups", "group_discard"), group, channel)
        with self._lock:
            groups = self._groups_of.get(channel)
            if groups is not None:
                groups.discard(group)
                if not groups:
                    del self._groups_of[channel]

    def forget(self, channel: str) -> None:
        """
        End the memberships of C{channel} that were begun through here.

        Others' end with the group expiry.
        """
        with self._lock:
            groups = self._groups_of.pop(channel, ())
        for group in groups:
            self._do(self._of("groups", "group_discard"), group, channel)

    def members(self, group: str) -> list[str]:
        """The members of C{group}."""
        return list(self._do(self._of("groups", "group_channels"), group))

    # The rest

    def clear(self) -> None:
        """Forget all messages, groups and counts."""
        self._do(self._of("flush", "flush"))
        with self._lock:
            self._groups_of.clear()
            self._counts.clear()
            self._totals = dict.fromkeys(STATISTICS_NAMES, 0)

    def totals(self) -> Mapping[str, int]:
        """The statistics of all channels."""
        with self._lock:
            ours = dict(self._totals)
        if self._counts_itself:
            return _statistics(self._do(self._layer.global_statistics), ours)
        return ours

    def counts(self, mailbox: str) -> Mapping[str, int]:
        """The statistics of one mailbox."""
        with self._lock:
            ours = dict(self._counts.get(mailbox) or dict.fromkeys(STATISTICS_NAMES, 0))
        if self._counts_itself:
            return _statistics(self._do(self._layer.channel_statistics, mailbox), ours)
        return ours

    def count(self, name: str, channel: str | None) -> None:
        """Add one to a count, of C{channel}'s mailbox as well where there is one."""
        with self._lock:
            self._totals[name] += 1
            if channel is None:
                return
            mailbox = mailbox_of(channel)
            counts = self._counts.get(mailbox)
            if counts is None:
                if len(self._counts) >= COUNTED_MAILBOXES:
                    del self._counts[next(iter(self._counts))]
                counts = self._counts[mailbox] = dict.fromkeys(STATISTICS_NAMES, 0)
            counts[name] += 1

    # Inside

    def _of(self, extension: str, method: str) -> Callable[..., Any]:
        """A method of an extension that the layer may not have."""
        found: Callable[..., Any] | None = getattr(self._layer, method, None)
        if extension not in self.extensions or found is None:
            raise LayerUnavailable(
                f"{self.name} has no {method}: it lacks the ASGI 1 extension {extension!r}; "
                f"use a channel layer that has it"
            )
        return found

    def _do(self, method: Callable[..., Any], *args: str) -> Any:
        try:
            return method(*args)
        except Exception as error:
            raise self._translated(error) from error

    def _translated(
        self, error: Exception, channel: str = "", message: SealedMessage | None = None
    ) -> ChannelLayerError:
        """One of our errors for one of theirs."""
        if isinstance(error, ChannelLayerError):
            return error
        if channel and isinstance(error, self._full):
            return self._full_channel(mailbox_of(channel))
        if message is not None and isinstance(error, self._too_large):
            return MessageTooLarge(channel, message.size, self._max_message_size)
        text = " ".join(str(error).split()) or "no reason given"
        return LayerUnavailable(f"{self.name} failed: {type(error).__name__}: {text}")

    def _full_channel(self, mailbox: str) -> ChannelFull:
        """
        What is known of a full channel.

        Without statistics that is its capacity, which is also what it holds.
        """
        try:
            capacity = int(self._layer.get_capacity(mailbox))
        except Exception:
            capacity = int(getattr(self._layer, "capacity", 0) or 0)
        depth, age = capacity, 0
        if self._counts_itself:
            try:
                statistics = self.counts(mailbox)
            except LayerUnavailable:
                # It has said that the channel is full, which counts for more.
                pass
            else:
                depth = statistics["messages_pending"] or capacity
                age = statistics["messages_max_age"]
        full = ChannelFull(mailbox, depth, capacity or depth, age)
        if not depth:
            # Zeros would read as if they were known.
            text = (
                f"channel {mailbox!r} is full, says {self.name}, which does not tell how many "
                f"messages wait; its readers are absent or too slow"
            )
            full.args = (text,)
        return full


def _statistics(theirs: Mapping[str, Any], ours: Mapping[str, int]) -> dict[str, int]:
    """Their figures, and for what they do not know ours."""
    return {
        name: int(theirs[name]) if theirs.get(name) is not None else ours[name]
        for name in STATISTICS_NAMES
    }
