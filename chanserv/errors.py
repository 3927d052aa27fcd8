"""
The exceptions of chanserv, in one tree.

Errors of other libraries (sockets, Redis, Django) are turned into one of these
at the edge where they enter, once; nothing inside chanserv catches a foreign
error.  Each message names the thing, the value and the way out.

All of them can be pickled: task queues carry what a task raised to who waits.
"""

from __future__ import annotations

from typing import Any


class ChanservError(Exception):
    """The base of every error that chanserv raises by itself."""


class ConfigurationError(ChanservError):
    """
    An option or a setting is wrong.

    The message is one line for the operator: what was wrong, and what would
    be right.  The command line shows it without a traceback.
    """


class ChannelLayerError(ChanservError):
    """The base of what a channel layer's methods raise or fail with."""


class InvalidChannelName(ChannelLayerError, ValueError):
    """A channel, group or pattern name does not follow the name grammar."""


class InvalidMessage(ChannelLayerError, TypeError):
    """
    A message holds something outside the spec's types.

    @ivar path: where in the message, written as Python would index it, such
        as C{message['headers'][2][0]}.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path
        self._problem = problem

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self._problem)


class MessageTooLarge(ChannelLayerError, ValueError):
    """
    A message is larger than its layer carries.

    @ivar size: the message's size in bytes.
    @ivar limit: the layer's limit in bytes.
    """

    def __init__(self, channel: str, size: int, limit: int) -> None:
        super().__init__(
            f"a message of {size} bytes for {channel!r} is over the layer's limit of "
            f"{limit} bytes: send large data in parts, or raise max_message_size"
        )
        self.channel = channel
        self.size = size
        self.limit = limit

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.channel, self.size, self.limit)


class ChannelFull(ChannelLayerError):
    """
    A channel holds as many messages as it may.

    @ivar channel: the channel, or the mailbox of a process-specific channel.
    @ivar depth: how many messages wait on it.
    @ivar capacity: how many may.
    @ivar oldest: the age in seconds of the message that waits longest.
    """

    def __init__(self, channel: str, depth: int, capacity: int, oldest: float) -> None:
        super().__init__(
            f"channel {channel!r} is full: {depth} messages wait, its capacity is "
            f"{capacity}, and the oldest has waited {oldest:.1f} s; its readers are "
            f"absent or too slow"
        )
        self.channel = channel
        self.depth = depth
        self.capacity = capacity
        self.oldest = oldest

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.channel, self.depth, self.capacity, self.oldest)


class LayerUnavailable(ChannelLayerError):
    """The layer's store cannot be reached, or the layer has been closed."""


class WorkersAbsent(ChannelLayerError):
    """No worker is there to take a message, and nobody waits for one any longer."""


class CorruptMessage(ChannelLayerError, ValueError):
    """Bytes from a layer's store are not a message this version can read."""


class WrongThread(ChanservError, RuntimeError):
    """A blocking call was made on the reactor's thread, which must not wait."""


class ConsumerSignal(ChanservError):
    """
    The base of what a consumer raises to tell its worker something.

    These are part of the application's language, not faults: a worker acts on
    them and logs no traceback.
    """


class ConsumeLater(ConsumerSignal):
    """
    The consumer cannot handle this message now: hand it out again shortly.

    The worker puts the message back on its channel after a short wait, a
    bounded number of times, and then drops it with a warning.
    """


class DenyConnection(ConsumerSignal):
    """
    The consumer of a C{websocket.connect} message refuses the handshake.

    The client is answered 403.
    """


class ClientDisconnected(ChanservError):
    """The client of a request left while its body was read or its answer sent."""
