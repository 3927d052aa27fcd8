"""The bell: how often it has rung, and who rang it last."""

from __future__ import annotations

from typing import Any

from chat.models import MAX_NAME
from django.db import models
from django.db.models import F
from django.utils import timezone


class Bell(models.Model):
    """There is one, with the key 1."""

    count = models.PositiveBigIntegerField(default=0)
    name = models.CharField(max_length=MAX_NAME, blank=True)
    at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"rung {self.count} times"

    @classmethod
    def the_one(cls) -> Bell:
        """The bell; hung where there is none."""
        return cls.objects.get_or_create(pk=1)[0]

    @classmethod
    def ring(cls, name: str) -> Bell:
        """Count one more ring, right also when two ring at once."""
        cls.the_one()
        cls.objects.filter(pk=1).update(count=F("count") + 1, name=name, at=timezone.now())
        return cls.the_one()

    def shown(self) -> dict[str, Any]:
        """The bell as pages get it."""
        return {
            "count": self.count,
            "name": self.name,
            "at": self.at.isoformat(timespec="milliseconds") if self.at else None,
        }
