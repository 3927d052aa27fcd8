"""Ordinary channels over real IPC, and the rest over a real Redis server."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import DeferredList
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chanserv.errors import ConfigurationError
from chanserv.layers import RedisLocalChannelLayer, make_layer
from chanserv.layers.ipc.seat import State
from chanserv.layers.local import SplitChannelLayer
from chanserv.layers.redis_local import local_name
from chanserv.messages import Outcome, Send
from tests.layers.ipc.rig import make_directory, make_ipc_layer, vanish
from tests.layers.redis.stores import StoresCase
from tests.layers.split_case import DistantSplitContract


class RedisLocalKeepsTheContract(StoresCase, DistantSplitContract):
    """Both sides' clocks are moved together."""

    async def make_layer(self, **config: Any) -> Any:
        self.clock = Clock()
        self.directory = make_directory(self)
        self.ipc_layers: list[Any] = []
        self.ipc_config = config
        layer = self._split(super().make_layer(**config))
        # The first that is asked anything is the host of the hub.
        await layer._ordinary.global_statistics()
        return layer

    def make_peer(self, layer: Any = None) -> Any:
        made = super().make_peer(layer)
        return made if layer is None else self._split(made)

    def _split(self, rest: Any) -> SplitChannelLayer:
        ordinary = make_ipc_layer(self.directory, self.clock, **self.ipc_config)
        self.ipc_layers.append(ordinary)
        return SplitChannelLayer(ordinary, rest)

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await super().advance(seconds)

    async def kill_peer(self, peer: Any) -> None:
        self.ipc_layers.remove(peer._ordinary)
        # The dead do not look for the hub again.
        peer._ordinary._seat.state = State.CLOSED
        await vanish(peer._ordinary)
        await super().kill_peer(peer._rest)

    async def pause(self) -> None:
        for _ in range(2):
            await super().pause()
            # The hub answers in order: what was on its way has come with the answer.
            await DeferredList(
                [layer.global_statistics() for layer in self.ipc_layers], consumeErrors=True
            )


class RedisLocalIsMadeOfItsSettings(StoresCase):
    """From C{CHANNEL_LAYERS} to messages on both sides."""

    def make(self, **config: Any) -> Any:
        from twisted.internet import reactor

        settings = {
            "BACKEND": "chanserv.layers.RedisLocalChannelLayer",
            "CONFIG": {
                **self.options(),
                "prefix": self.id()[-40:] + ":",
                "directory": self.directory,
                **config,
            },
        }
        layer: Any = make_layer(settings, reactor)
        self.addCleanup(layer.close)
        return layer

    def setUp(self) -> None:
        super().setUp()
        self.directory = make_directory(self)

    async def test_each_kind_of_channel_goes_its_own_way(self) -> None:
        layer, other = self.make(), self.make()
        for channel in ("ordinary", "single?x", "process!x"):
            await layer.send(channel, {"to": channel})
        counts = [
            [(await side.channel_statistics(name))["messages_count"] for name in names]
            for side in (layer._ordinary, layer._rest)
            for names in [("ordinary", "single?x", "process!")]
        ]
        self.assertEqual(counts, [[1, 0, 0], [0, 1, 1]])
        for name in ("ordinary", "single?x", "process!"):
            (delivery,) = await other.receive([name])
            self.assertEqual(delivery.message, {"to": delivery.channel})

    async def test_what_is_there_on_either_side_comes_without_waiting(self) -> None:
        layer = self.make()
        names = ["ordinary", "process!"]
        self.assertEqual(await layer.receive_now(names, 10), [])
        await layer.send_batch([Send("ordinary", {}, "process!x"), Send("process!x", {})])
        found = await layer.receive_now(names, 10)
        self.assertEqual([one.channel for one in found], ["process!x", "ordinary"])
        await layer.send_batch([], found)
        (receipt,) = await layer.receive(["process!"])
        self.assertEqual(receipt.message, {"receipt": "settled"})
        await layer.send_batch([Send("ordinary", {}), Send("process!x", {})])
        for _ in range(2):
            self.assertEqual(len(await layer.receive_now(names, 1)), 1)
        self.assertEqual(await layer.receive_now(names, 1), [])

    async def test_what_is_lost_is_handed_out_again_on_both_sides(self) -> None:
        layer = self.make(redeliver=("again*",))
        for channel in ("again", "again?x"):
            await layer.send(channel, {})
            (delivery,) = await layer.receive([channel])
            delivery.settle(Outcome.LOST)
            (delivery,) = await layer.receive([channel])
            delivery.settle()

    def test_options_count_on_both_sides(self) -> None:
        layer = self.make(expiry=7, group_expiry=11)
        for side in (layer, layer._ordinary, layer._rest):
            self.assertEqual((side.expiry, side.group_expiry), (7, 11))

    def test_an_unknown_option_is_refused(self) -> None:
        with self.assertRaisesRegex(ConfigurationError, "unknown key 'colour'; known are .*hosts"):
            self.make(colour="red")


class WhereItsProcessesMeet(TestCase):
    def test_the_same_prefix_on_other_servers_is_another_place(self) -> None:
        names = {
            local_name("mysite:", servers)
            for servers in (["a:6379/0"], ["a:6379/1"], ["a:6379/0", "b:6379/0"])
        }
        self.assertEqual(len(names), 3)
        for name in names:
            self.assertRegex(name, r"^mysite-[0-9a-f]{8}$")
        self.assertEqual(local_name("x:", ["a"]), local_name("x:", ["a"]))

    def test_it_lives_on_a_reactor(self) -> None:
        with self.assertRaises(ConfigurationError):
            make_layer({"BACKEND": "chanserv.layers.RedisLocalChannelLayer"}, None)
        self.assertTrue(hasattr(RedisLocalChannelLayer, "for_guest"))
