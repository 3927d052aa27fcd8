"""
Settings of the site.

C{TEST_SITE_DIR} names a directory for the database and uploads; without it, one
is made for the life of the process.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

if "TEST_SITE_DIR" in os.environ:
    DATA_DIR = Path(os.environ["TEST_SITE_DIR"])
else:
    DATA_DIR = Path(tempfile.mkdtemp(prefix="chanserv-site-"))
    atexit.register(shutil.rmtree, DATA_DIR, ignore_errors=True)

DEBUG = os.environ.get("TEST_SITE_DEBUG", "1") == "1"
SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.site.urls"
USE_TZ = True

INSTALLED_APPS = [
    "chanserv.django",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [HERE / "templates"],
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "db.sqlite3",
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STATIC_URL = "/static/"
STATICFILES_DIRS = [HERE / "static"]
FILE_UPLOAD_TEMP_DIR = str(DATA_DIR)
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "chanserv.layers.MemoryChannelLayer",
        "CONFIG": {"capacity": 1000},
        "ROUTING": "tests.site.routing.channel_routing",
    },
    "second": {"BACKEND": "chanserv.layers.MemoryChannelLayer"},
}
