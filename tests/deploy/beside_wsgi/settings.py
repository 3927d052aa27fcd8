"""The settings of both servers: what they share is the database and the layer."""

from tests.site.settings import *  # noqa: F403
from tests.site.settings import DATA_DIR

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "chanserv.layers.IPCChannelLayer",
        "CONFIG": {"prefix": "beside", "directory": str(DATA_DIR)},
        "ROUTING": "tests.site.routing.channel_routing",
    }
}
WSGI_APPLICATION = "tests.deploy.beside_wsgi.wsgi.application"
