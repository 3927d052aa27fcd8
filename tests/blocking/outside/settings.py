"""A site whose sockets are served by chanserv, and whose pages by whoever is tried."""

import json
import os

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "outside.urls"
WSGI_APPLICATION = "outside.wsgi.application"
INSTALLED_APPS = ["chanserv.django", "outside"]
MIDDLEWARE: list[str] = []
USE_TZ = True
CHANNEL_LAYERS = {
    "default": {
        # The entry of the layer that is tried, but for its routing.
        **json.loads(os.environ["OUTSIDE_LAYER"]),
        "ROUTING": "outside.routing.channel_routing",
    }
}
