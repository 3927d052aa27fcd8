"""What a channel layer says of itself and of some of its channels, at one look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError, gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from chanserv.errors import ChannelLayerError
from chanserv.interfaces import IChannelLayer

MAX_CHANNELS: Final = 200
"""Channels that are asked for at one look, in the order of their names: more than a site
has, and few enough that looking each second costs the layer little."""

GLANCE_PATIENCE: Final = 2.0
"""Seconds that one look waits for the layer: past this it is as good as away for who
looks each second."""


@dataclass(frozen=True, slots=True)
class Glance:
    """
    One look.

    @ivar totals: what L{IChannelLayer.global_statistics} gave; nothing where it failed.
    @ivar channels: what L{IChannelLayer.channel_statistics} gave, by channel.
    @ivar round_trip: seconds that the layer took for the totals; L{None} where it failed.
    @ivar problem: why the layer did not answer, in a line; empty where it did.
    """

    totals: Mapping[str, int] = field(default_factory=dict)
    channels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    round_trip: float | None = None
    problem: str = ""


def glance_at(
    layer: IChannelLayer,
    channels: Iterable[str],
    clock: IReactorTime,
    patience: float = GLANCE_PATIENCE,
) -> Deferred[Glance]:
    """
    Look.

    @param channels: those to ask for; of more than L{MAX_CHANNELS} the first.
    @param patience: seconds to wait for the layer.
    @return: fires within C{patience}, and never fails.
    """
    return Deferred.fromCoroutine(_glance_at(layer, channels, clock, patience))


async def _glance_at(
    layer: IChannelLayer, channels: Iterable[str], clock: IReactorTime, patience: float
) -> Glance:
    begun = clock.seconds()
    names = list(islice(sorted(set(channels)), MAX_CHANNELS))

    async def asked(call: Any, *args: str) -> Any:
        answer = maybeDeferred(call, *args).addTimeout(patience, clock)
        return await answer.addErrback(_problem, patience)

    async def totals() -> tuple[Any, float]:
        found = await asked(layer.global_statistics)
        return found, clock.seconds() - begun

    answers: list[Any] = await gatherResults(
        [
            Deferred.fromCoroutine(totals()),
            *(Deferred.fromCoroutine(asked(layer.channel_statistics, name)) for name in names),
        ]
    )
    (found, seconds), *by_channel = answers
    if isinstance(found, str):
        return Glance(problem=found)
    return Glance(
        totals=found,
        channels={
            name: one
            for name, one in zip(names, by_channel, strict=True)
            if not isinstance(one, str)
        },
        round_trip=max(seconds, 0.0),
    )


def _problem(failure: Failure, patience: float) -> str:
    """Why something could not be had, in a line."""
    if isinstance(failure.value, TimeoutError):
        return f"it has not answered within {patience:g} s"
    if isinstance(failure.value, ChannelLayerError):
        return failure.getErrorMessage()
    return f"{type(failure.value).__name__}: {failure.getErrorMessage()}"
