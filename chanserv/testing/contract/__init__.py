"""
The channel layer contract, as tests.

A layer's author mixes L{ChannelLayerContract} into a trial C{TestCase}, and
says how a layer is made::

    from twisted.internet.task import Clock
    from twisted.trial.unittest import TestCase
    from chanserv.testing import ChannelLayerContract

    class MyLayerKeepsTheContract(ChannelLayerContract, TestCase):
        quiet = 0.0

        def make_layer(self, **config):
            self.clock = Clock()
            return MyLayer(clock=self.clock, **config)

        def advance(self, seconds):
            self.clock.advance(seconds)

A layer whose store lives outside the process leaves C{advance} as it is, sets
C{expiry} and C{group_expiry} to a few seconds, makes a second layer on the
same store in C{make_peer}, and lets one die in C{kill_peer}.  See
L{LayerCase<chanserv.testing.contract.case.LayerCase>} for each of these hooks.

Every test is named for the promise it holds the layer to; so a layer that
fails one says which line of L{IChannelLayer<chanserv.interfaces.IChannelLayer>}
it breaks.
"""

from chanserv.testing.contract.bookkeeping import Bookkeeping
from chanserv.testing.contract.bounds import Bounds
from chanserv.testing.contract.groups import Groups
from chanserv.testing.contract.leases import Leases
from chanserv.testing.contract.names_and_messages import NamesAndMessages
from chanserv.testing.contract.peers import Peers
from chanserv.testing.contract.queues import Queues
from chanserv.testing.contract.settling import Settling


class ChannelLayerContract(
    NamesAndMessages, Queues, Bounds, Groups, Settling, Peers, Leases, Bookkeeping
):
    """
    All that an L{IChannelLayer<chanserv.interfaces.IChannelLayer>} promises.

    Mix it into C{twisted.trial.unittest.TestCase}, before that.
    """


__all__ = ["ChannelLayerContract"]
