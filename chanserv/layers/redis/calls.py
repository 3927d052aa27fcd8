"""How programs are called: as functions where a server has these, or as scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from chanserv.errors import ChannelLayerError, LayerUnavailable
from chanserv.layers.redis.held import Commands
from chanserv.layers.redis.programs import ALL, LIBRARY, LIBRARY_NAME, Program
from chanserv.layers.redis.protocol import Word
from chanserv.layers.redis.refusals import Refused
from chanserv.layers.redis.space import Space
from chanserv.layers.redis.turns import all_done


class Calls:
    """
    The calls to one server, by what it has learnt.

    @ivar by_functions: whether it has functions.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self.by_functions = False

    async def teach(self, link: Commands) -> None:
        """
        Have the server learn all programs.

        That is done on each new connection: what a server learns only when it
        is called would run after what was sent behind it.
        """
        await all_done([link.call("SCRIPT", "LOAD", one.script.source) for one in ALL])
        self.by_functions = await self._has_learnt(link)

    async def _has_learnt(self, link: Commands) -> bool:
        """Whether the server has the functions, now."""
        try:
            await link.call("FUNCTION", "LOAD", LIBRARY)
        except ChannelLayerError as error:
            if isinstance(error, LayerUnavailable) and not isinstance(error, Refused):
                raise
            if "already exists" in str(error):
                return True
        else:
            return True
        try:
            # One without memory takes no library, though it may have this one.
            return bool(await link.call("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY_NAME))
        except ChannelLayerError as error:
            if isinstance(error, LayerUnavailable) and not isinstance(error, Refused):
                raise
            # A server before 7 has none, and not every user may use them.
            return False

    def run(self, link: Commands, program: Program, words: Sequence[Word]) -> Deferred[Any]:
        """Run C{program}: fires with what it returns."""
        arguments = (*self._space.head(), *words)
        if not self.by_functions:
            return link.run(program.script, (), arguments)
        running = link.call("FCALL", program.function, 0, *arguments)
        return running.addErrback(self._again, link, program, arguments)

    def _again(
        self, failure: Failure, link: Commands, program: Program, arguments: Sequence[Word]
    ) -> Any:
        """A server that has forgotten its functions has not run one."""
        if "Function not found" not in str(failure.value):
            return failure
        again = Deferred.fromCoroutine(self._has_learnt(link))
        return again.addCallback(
            lambda learnt: (
                link.call("FCALL", program.function, 0, *arguments)
                if learnt
                else link.run(program.script, (), arguments)
            )
        )
