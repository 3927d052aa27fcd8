"""
How chanserv is built and installed.

Everything a build backend must know stands here and not in C{pyproject.toml},
because of the one thing that only C{setup()} can say: C{twisted.plugins} is a
folder that we add one file to and that Twisted owns.  It has no
C{__init__.py}, so no automatic discovery finds it, and C{package_dir} makes
editable installs put the whole tree on the path, where Twisted looks.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def version() -> str:
    """The version, read from the package without importing it."""
    text = (HERE / "chanserv" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    assert found, "chanserv/__init__.py has no __version__ line"
    return found[1]


# The oldest versions that the tests pass with; "oldest" in tox.ini pins them.
# Before 26.7 Autobahn inflated a compressed message past the limit that it was set.
INSTALL_REQUIRES = [
    "autobahn >= 26.7.1",
    "django >= 5.2",
    "h2 >= 4.3",
    "hpack >= 4.1",
    "hyperframe >= 6.1",
    "msgpack >= 1.1",
    "twisted[tls] >= 26.4",
    "txredisapi >= 1.6",
    "zope.interface >= 8.0",
]

TEST = [
    "build >= 1.2",
    "coverage[toml] >= 7.6",
    "cryptography >= 50",
    "gunicorn >= 23",
    "hiredis >= 3.0",
    "httpx >= 0.27",
    "hypothesis >= 6.120",
    "playwright >= 1.50",
    "prometheus-client >= 0.22",
    "pytest >= 8.4",
    "pytest-timeout >= 2.3",
    "pytest-xdist >= 3.6",
    "supervisor >= 4.3",
    "websockets >= 14",
]

LINT = ["ruff >= 0.17, < 0.18"]

# mypy-zope reaches into mypy and must know the version it meets.
TYPES = [
    "django-stubs >= 6.1",
    "mypy >= 2.4, < 2.5",
    "mypy-zope >= 1.0.17",
]

DOCS = ["sphinx >= 8.1", "towncrier >= 24.8"]

setup(
    name="chanserv",
    version=version(),
    description="The server for Django sites that keep sockets open",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    python_requires=">= 3.11",
    package_dir={"": "."},
    packages=[*find_packages(include=["chanserv*"]), "twisted.plugins"],
    package_data={
        "chanserv": ["py.typed"],
        "chanserv.django": ["static/**/*", "templates/**/*"],
        "chanserv.layers": ["**/*.lua"],
        # Not dropin.cache, which Twisted writes beside the plugin.
        "twisted.plugins": ["chanserv_plugin.py"],
    },
    exclude_package_data={"twisted.plugins": ["dropin.cache"]},
    zip_safe=False,
    install_requires=INSTALL_REQUIRES,
    extras_require={
        "crypto": ["cryptography >= 50"],
        "hiredis": ["hiredis >= 3.0"],
        "metrics": ["prometheus-client >= 0.22"],
        "test": TEST,
        "docs": DOCS,
        "dev": [*TEST, *LINT, *TYPES, *DOCS, "tox >= 4.20"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Web Environment",
        "Framework :: Django",
        "Framework :: Django :: 5.2",
        "Framework :: Twisted",
        "Intended Audience :: Developers",
        "License :: OSI Approved :: BSD License",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Internet :: WWW/HTTP :: HTTP Servers",
        "Typing :: Typed",
    ],
)
