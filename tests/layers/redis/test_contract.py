"""The Redis layer keeps the contract, on servers of each kind."""

from __future__ import annotations

from chanserv.testing import ChannelLayerContract
from tests.layers.redis.stores import StoresCase


class OneShardKeepsTheContract(StoresCase, ChannelLayerContract):
    shards = 1


class ThreeShardsKeepTheContract(StoresCase, ChannelLayerContract):
    shards = 3
