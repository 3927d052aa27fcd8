"""The site for chanserv."""

from bench_site.settings import *  # noqa: F403

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "chanserv.layers.MemoryChannelLayer",
        "ROUTING": "bench_site.consumers.routing",
    }
}
