"""The smallest Django site with open sockets: one view, one echo, one group."""

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "site_under_test.urls"
INSTALLED_APPS = ["chanserv.django"]
MIDDLEWARE: list[str] = []
USE_TZ = True
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "chanserv.layers.MemoryChannelLayer",
        "ROUTING": "site_under_test.routing.channel_routing",
    }
}
