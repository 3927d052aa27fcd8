"""A loaded Django site for the tests of this room, and what they share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import django
import pytest

if TYPE_CHECKING:
    from tests.django.site_runner import SiteRunner

# Before the test modules are imported: they import models.
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.site.settings"
django.setup()
# Processes that other tests start must not inherit it.
del os.environ["DJANGO_SETTINGS_MODULE"]


@pytest.fixture(scope="session")
def database() -> None:
    """The tables of the site."""
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", verbosity=0)
    connections.close_all()


@pytest.fixture
def site(database: None) -> Iterator[SiteRunner]:
    """The site behind a memory layer of its own, and a client for it."""
    from tests.django.site_runner import SiteRunner
    from tests.site import consumers, views

    views.closed.clear()
    views.waiting.clear()
    consumers.seen.clear()
    with SiteRunner() as runner:
        yield runner
