"""
Redis' protocol on one transport: commands out, replies in, in order.

These are txredisapi's protocols with another way in and out.  A command is
packed once and joins what else this turn of the reactor sends, so that a
hundred commands are one write; its Deferred stands in a queue, and the reply
goes straight to it.  One timer watches the whole queue.

Who reads the replies, a parser in C or one in Python, is told in C{links}.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from chanserv.errors import ChannelLayerError, LayerUnavailable
from chanserv.layers.late_reactor import import_with_late_reactor
from chanserv.layers.redis.endpoints import why_not_reached
from chanserv.layers.redis.refusals import Refusal, Refused
from chanserv.layers.redis.script import Script

# It takes the global reactor, which may not be the one that we run on.
txredisapi: Any = import_with_late_reactor("txredisapi")

Word: TypeAlias = bytes | str | int | float
"""What a command is made of.  Text goes as UTF-8."""

Words: TypeAlias = tuple[Word, ...]

MAX_UNANSWERED: Final = 100_000
"""Commands that may wait for their replies: as many as a process sends when each of
fifty thousand connections joins two groups, and some 100 MB when the server hangs."""

MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes that may wait for a server that does not read: some dozens of the largest
messages, which a process can spare while the reply time-out runs."""

SECOND_LOOK: Final = 0.5
"""Seconds between the end of the reply time-out and the verdict.  If it was this
process that stood still, the replies are there to be read, and this lets it."""


def pack(words: Iterable[Word]) -> bytes:
    """
    Write a command as the protocol has it.

    @raise TypeError: a word is of another type.
    """
    out = []
    for word in words:
        if isinstance(word, str):
            word = word.encode()
        elif isinstance(word, (int, float)):
            word = b"%r" % word
        out.append(b"$%d\r\n%b\r\n" % (len(word), word))
    return b"*%d\r\n" % len(out) + b"".join(out)


class Link(txredisapi.BaseRedisProtocol):  # type: ignore[misc]
    """
    One connection, from its first byte to its last.

    @ivar name: the server's name, for errors.
    """

    _pack: Callable[[Words], bytes] = staticmethod(pack)

    def __init__(
        self,
        name: str,
        reactor: Any,
        reply_timeout: float,
        ending: Callable[[], None] = lambda: None,
        ended: Callable[[LayerUnavailable], None] = lambda _: None,
        max_unanswered: int = MAX_UNANSWERED,
        max_unsent: int = MAX_UNSENT,
    ) -> None:
        """
        @param reply_timeout: seconds that the server may be silent while
            commands wait.
        @param ending: called once, when no more commands can be sent.
        @param ended: called once after that, when the connection is gone and
            all that waited has failed, with the reason.
        """
        super().__init__(charset=None, convertNumbers=False)
        self.name = name
        self._reactor = reactor
        self._reply_timeout = reply_timeout
        self._ending = ending
        self._ended = ended
        self._max_unanswered = max_unanswered
        self._max_unsent = max_unsent
        self._waiting: deque[Deferred[Any]] = deque()
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._flush_asked = False
        self._held = False
        self._heard_at = 0.0
        self._watch: IDelayedCall | None = None
        self._second_look = False
        self._why: LayerUnavailable | None = None
        self._aborted = False

    # Out

    def call(self, *words: Word) -> Deferred[Any]:
        """
        Send a command.

        @return: fires with the reply: bytes (also for a status), an int,
            L{None} or a list of these, in which an error is an exception that
            is not raised.  Fails with a L{ChannelLayerError}.
        """
        return self.send(self._pack(words))

    def send(self, packed: bytes) -> Deferred[Any]:
        """The same for a command that has been packed."""
        reply: Deferred[Any] = Deferred()
        waiting = self._waiting
        if self._why is not None:
            reply.errback(self._gone(self._why))
            return reply
        if len(waiting) >= self._max_unanswered or self._unsent_bytes > self._max_unsent:
            reply.errback(self._too_much())
            return reply
        if not waiting:
            self._heard_at = self._reactor.seconds()
            if self._watch is None:
                self._watch = self._reactor.callLater(self._reply_timeout, self._look)
        if not self._flush_asked:
            self._flush_asked = True
            self._reactor.callLater(0, self._flush)
        waiting.append(reply)
        self._unsent.append(packed)
        self._unsent_bytes += len(packed)
        return reply

    def run(
        self, script: Script, keys: Sequence[Word] = (), args: Sequence[Word] = ()
    ) -> Deferred[Any]:
        """
        Run a script.

        A server that does not know it (any more) is sent its text: that is
        safe, since it has not run.
        """
        reply = self.send(self._pack((b"EVALSHA", script.sha, len(keys), *keys, *args)))
        reply.addErrback(self._run_text, script, keys, args)
        return reply

    def _run_text(
        self, failure: Failure, script: Script, keys: Sequence[Word], args: Sequence[Word]
    ) -> Deferred[Any] | Failure:
        if not isinstance(failure.value, Refused) or failure.value.code != "NOSCRIPT":
            return failure
        return self.call(b"EVAL", script.source, len(keys), *keys, *args)

    def execute_command(self, *args: Word, **_: Any) -> Deferred[Any]:
        """As txredisapi's own methods send."""
        return self.call(*args)

    def _flush(self) -> None:
        self._flush_asked = False
        if self._unsent and not self._held and self.connected:
            unsent, self._unsent, self._unsent_bytes = self._unsent, [], 0
            self.transport.write(b"".join(unsent))

    # The transport calls these when it has enough unsent bytes, and when it wants more.

    def pauseProducing(self) -> None:
        """See L{IPushProducer<twisted.internet.interfaces.IPushProducer>}."""
        self._held = True

    def resumeProducing(self) -> None:
        """See L{IPushProducer<twisted.internet.interfaces.IPushProducer>}."""
        self._held = False
        self._flush()

    def stopProducing(self) -> None:
        """See L{IPushProducer<twisted.internet.interfaces.IPushProducer>}."""
        self._held = True

    # In

    def replyReceived(self, reply: Any) -> None:
        """A reply has come, whole."""
        try:
            waiting = self._waiting.popleft()
        except IndexError:
            self.abort(f"Redis {self.name} sent a reply that nothing asked for: is it Redis?")
            return
        if isinstance(reply, Exception):
            waiting.errback(self._refused(reply))
        else:
            waiting.callback(reply)

    def _refused(self, error: Exception) -> ChannelLayerError:
        refusal = Refusal.of(str(error), self.name)
        if refusal.ends_connection:
            self.abort(str(refusal.error))
        return refusal.error

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Bytes have come."""
        if self._aborted:
            return
        self._heard_at = self._reactor.seconds()
        try:
            self._read(data)
        except Exception as error:
            self.abort(f"Redis {self.name} does not speak Redis' protocol: {error}")

    def _read(self, data: bytes) -> None:
        raise NotImplementedError

    # Time and the end

    def _look(self) -> None:
        """The oldest command may have waited long enough."""
        self._watch = None
        if not self._waiting:
            self._second_look = False
            return
        left = self._heard_at + self._reply_timeout - self._reactor.seconds()
        if left > 0:
            self._second_look = False
        elif self._second_look:
            self.abort(
                f"Redis {self.name} has been silent for {self._reply_timeout:g} s while "
                f"{len(self._waiting)} commands waited"
            )
            return
        else:
            self._second_look = True
            left = SECOND_LOOK
        self._watch = self._reactor.callLater(left, self._look)

    def abort(self, why: str) -> None:
        """
        Drop the connection; nothing else is sent on it.

        @param why: what everything that waits fails with.
        """
        self._end_with(why)
        if not self._aborted and self.transport is not None:
            self._aborted = True
            self.transport.abortConnection()

    def close(self) -> None:
        """Send what is still unsent, then close the connection."""
        self._held = False
        self._flush()
        self._end_with(f"Redis {self.name}: the connection is closed")
        # With a producer, the transport would wait for it to end.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _end_with(self, why: str) -> LayerUnavailable:
        """Send nothing more, for C{why} unless there was a reason before."""
        if self._why is None:
            self._why = LayerUnavailable(why)
            self._ending()
        return self._why

    @staticmethod
    def _gone(why: LayerUnavailable) -> LayerUnavailable:
        """The same again: each failure has a traceback of its own."""
        return LayerUnavailable(str(why))

    def _too_much(self) -> LayerUnavailable:
        return LayerUnavailable(
            f"Redis {self.name} is too slow: {len(self._waiting)} commands wait for it, with "
            f"{self._unsent_bytes} bytes still unsent"
        )

    def connectionMade(self) -> None:
        """The transport stands.  Who may use it is decided by L{Connection}."""
        self.connected = 1
        for option in ("setTcpNoDelay", "setTcpKeepAlive"):
            set_it = getattr(self.transport, option, None)
            if set_it is not None:
                set_it(True)
        self.transport.registerProducer(self, True)

    def connectionLost(self, why: Failure) -> None:  # type: ignore[override, unused-ignore]
        """All that waits fails: nobody knows whether the server has done it."""
        self.connected = 0
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._unsent, self._unsent_bytes = [], 0
        reason = self._end_with(f"Redis {self.name}: {why_not_reached(why)}")
        waiting, self._waiting = self._waiting, deque()
        for reply in waiting:
            reply.errback(self._gone(reason))
        self._ended(reason)
