"""A layer that keeps ordinary channels on this machine, as an object of the site's own."""

import os

from twisted.internet import reactor  # noqa: TID253  # twistd has chosen one by now

from chanserv.layers import RedisLocalChannelLayer

layer = RedisLocalChannelLayer.for_reactor(reactor, hosts=[os.environ["CHANSERV_TEST_REDIS"]])
