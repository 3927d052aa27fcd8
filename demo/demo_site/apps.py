from __future__ import annotations

from django.apps import AppConfig


class DemoSiteConfig(AppConfig):
    """What all pages share: the frame, the front page, and the pulse."""

    name = "demo_site"
    verbose_name = "The site"
