from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from chanserv.errors import LayerUnavailable
from chanserv.interfaces import IChannelLayer
from chanserv.layers import MemoryChannelLayer
from chanserv.messages import Send
from chanserv.testing.fakes import BareLayer, FailingLayer, PlainLayer


class Fakes(SynchronousTestCase):
    def setUp(self) -> None:
        self.original = MemoryChannelLayer(clock=Clock())

    def test_each_provides_the_interface(self) -> None:
        for fake in (PlainLayer, BareLayer, FailingLayer):
            self.assertTrue(verifyObject(IChannelLayer, fake(self.original)))

    def test_a_plain_layer_has_nothing_but_the_interface(self) -> None:
        plain = PlainLayer(self.original)
        self.assertTrue(plain.settles)
        self.assertFalse(hasattr(plain, "blocking_face"))

    def test_a_bare_layer_gives_no_receipts(self) -> None:
        bare = BareLayer(self.original)
        self.assertFalse(bare.settles)
        bare.send("a", {}, "p!1")
        bare.send_batch([Send("a", {}, "p!1")])
        deliveries = self.successResultOf(bare.receive(["a"], 2))
        bare.send_batch([], deliveries)
        self.assertNoResult(bare.receive(["p!"]))

    def test_a_failing_layer_fails_until_it_is_well_again(self) -> None:
        failing = FailingLayer(self.original)
        self.successResultOf(failing.send("a", {}))
        failing.failure = LayerUnavailable("gone")
        for attempt in (
            failing.send("a", {}),
            failing.receive(["a"]),
            failing.group_channels("g"),
            failing.global_statistics(),
        ):
            self.failureResultOf(attempt, LayerUnavailable)
        self.assertTrue(failing.settles)
        failing.failure = None
        self.successResultOf(failing.receive(["a"]))
        self.successResultOf(failing.close())
