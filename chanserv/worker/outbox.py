"""What one run of a consumer sends, gathered until it ends."""

from __future__ import annotations

from chanserv.messages import GroupSend, Message, Operation, Send, seal
from chanserv.names import check_channel, check_group


class Outbox:
    """
    The sends of one run of a consumer, in order.

    Names and messages are checked as they come in, so that a mistake raises
    in the line that made it; what is kept can be sent without another look.
    Used by one thread at a time.

    @ivar operations: what to send.
    @ivar consumer: the dotted name of the consumer that ran, for logs; empty
        until the application knows it.
    @ivar failed: whether the run counts as failed although its consumer ends as if
        nothing was: somebody has caught the exception, and answered for it.
    """

    __slots__ = ("consumer", "failed", "operations")

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.consumer = ""
        self.failed = False

    def send(self, channel: str, message: Message) -> None:
        """
        Add a message for one channel.

        @raise InvalidChannelName: C{channel} is no channel name.
        @raise InvalidMessage: C{message} holds something outside the spec's types.
        """
        self.operations.append(Send(check_channel(channel), seal(message)))

    def send_group(self, group: str, message: Message) -> None:
        """
        Add a message for all members of a group.

        @raise InvalidChannelName: C{group} is no group name.
        @raise InvalidMessage: C{message} holds something outside the spec's types.
        """
        self.operations.append(GroupSend(check_group(group), seal(message)))
