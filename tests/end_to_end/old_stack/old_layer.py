"""A layer of the old stack, as the C{asgi.py} of such a site has it."""

import os

import asgi_redis

channel_layer = asgi_redis.RedisChannelLayer(hosts=[os.environ["CHANSERV_TEST_REDIS"]])
