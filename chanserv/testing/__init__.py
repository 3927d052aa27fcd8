"""
What the tests of layers and sites build on.

L{ChannelLayerContract} and L{BlockingLayerContract} hold a channel layer to
what it promises; L{chanserv.testing.fakes} has layers with something missing.
"""

from chanserv.testing.contract import ChannelLayerContract
from chanserv.testing.contract.blocking import BlockingLayerContract

__all__ = ["BlockingLayerContract", "ChannelLayerContract"]
