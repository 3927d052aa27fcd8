from typing import Any

from django.core.management.base import BaseCommand
from outside.sending import announce


class Command(BaseCommand):
    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("group")
        parser.add_argument("text")

    def handle(self, *args: Any, group: str, text: str, **options: Any) -> None:
        announce(group, text)
