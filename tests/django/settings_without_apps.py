"""Settings that Django itself refuses."""

SECRET_KEY = "only for tests"
INSTALLED_APPS = ["chanserv.django", "chanserv.django"]
