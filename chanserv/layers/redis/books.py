"""Statistics over all shards, and forgetting all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

from chanserv.layers.redis.programs import FLUSH, STATISTICS
from chanserv.layers.redis.space import Space
from chanserv.layers.redis.turns import all_done

if TYPE_CHECKING:
    from chanserv.layers.redis.shard import Shard

SCANNED: Final = 500
"""Keys that one step of a flush looks at: a millisecond of the server's time."""

NAMES: Final = (
    "messages_count",
    "channel_full_count",
    "messages_expired_count",
    "messages_lost_count",
    "messages_pending",
    "messages_max_age",
)
"""What C{lua/statistics.lua} returns, in its order."""


async def statistics(shards: Sequence[Shard], mailbox: str) -> Mapping[str, int]:
    """
    The counts of C{mailbox}, or of all where it is empty.

    @raise LayerUnavailable: a shard is out of reach; half the counts would mislead.
    """
    found = await all_done([shard.run(STATISTICS, mailbox) for shard in shards])
    columns = list(zip(*found, strict=True))
    counts = dict(zip(NAMES, map(sum, columns), strict=True))
    counts["messages_max_age"] = max(columns[-1]) // 1000
    return counts


async def flush(shards: Sequence[Shard], space: Space) -> None:
    """Forget all messages, groups and counts on each of C{shards}."""
    await all_done([Deferred.fromCoroutine(_flush_one(shard, space)) for shard in shards])


async def _flush_one(shard: Shard, space: Space) -> None:
    await shard.run(FLUSH)
    pattern = _escaped(f"{space.stats_prefix}of:") + "*"
    cursor: Any = 0
    while True:
        cursor, keys = await shard.call("SCAN", cursor, "MATCH", pattern, "COUNT", SCANNED)
        if keys:
            await shard.call("UNLINK", *keys)
        if int(cursor) == 0:
            return


def _escaped(text: str) -> str:
    """C{text} as a pattern of Redis that matches nothing else."""
    return "".join(f"\\{mark}" if mark in "*?[]\\^-" else mark for mark in text)
