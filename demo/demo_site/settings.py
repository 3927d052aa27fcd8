"""
Settings of the demo, for a machine of one's own.

Four environment variables change what is worth changing:

- C{DEMO_DATA}: the directory of the database (C{demo/var} by default);
- C{DEMO_DEBUG}: C{0} to see the site as strangers would;
- C{DEMO_HOSTS}: host names it answers to, separated by commas;
- C{DEMO_SECRET_KEY}: what signs sessions.  Where it is missing, a key is made
  once and kept beside the database.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

BASE = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DEMO_DATA") or BASE / "var")
DATA.mkdir(parents=True, exist_ok=True)


def _kept_secret(path: Path) -> str:
    """The secret in C{path}; made there first, readable by its owner alone."""
    if not path.exists():
        # It appears whole, or not at all, for processes that start together.
        with NamedTemporaryFile("w", dir=path.parent) as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            with suppress(FileExistsError):
                os.link(file.name, path)
    return path.read_text()


SECRET_KEY = os.environ.get("DEMO_SECRET_KEY") or _kept_secret(DATA / "secret-key")
DEBUG = os.environ.get("DEMO_DEBUG", "1") != "0"
ALLOWED_HOSTS = os.environ.get("DEMO_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

INSTALLED_APPS = [
    "chanserv.django",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "demo_site",
    "bell",
    "chat",
    "uploads",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "demo_site.urls"

# The memory layer: one process holds the sockets and runs the code.  With
# --layer=... on the command line the same site runs in any other shape.
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "chanserv.layers.MemoryChannelLayer",
        "ROUTING": "demo_site.routing.channel_routing",
    },
}

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "demo.sqlite3",
        "CONN_MAX_AGE": 60,
        # Several threads write.  In WAL mode readers and the one writer do not
        # wait for each other; a transaction that will write says so when it
        # begins, so that it queues (up to the time-out) and never fails half way.
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
        # A file for the tests as well: it behaves as the real one among threads.
        "TEST": {"NAME": DATA / "test.sqlite3"},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "/static/"
LANGUAGE_CODE = "en-gb"
USE_TZ = True
TIME_ZONE = "UTC"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname:<7} {name}: {message}", "style": "{"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"django": {"handlers": ["console"], "level": "INFO", "propagate": False}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
