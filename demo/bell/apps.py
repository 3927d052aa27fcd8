from __future__ import annotations

from django.apps import AppConfig


class BellConfig(AppConfig):
    name = "bell"
