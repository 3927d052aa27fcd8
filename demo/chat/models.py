"""What the chat keeps: its rooms, what was said, and who sits on which socket."""

from __future__ import annotations

from django.db import models
from django.urls import reverse

MAX_NAME = 24
"""Letters in a visitor's name: fits a phone's line."""

MAX_TITLE = 40
"""Letters in a room's title."""

MAX_TEXT = 2_000
"""Letters in a message: a long paragraph."""

MAX_ROOMS = 60
"""Rooms there may be: the lobby shows them all, and anyone can open one."""


class Room(models.Model):
    """A room: its page is open to all, and its messages to all in it."""

    slug = models.SlugField(unique=True, max_length=50)
    title = models.CharField(max_length=MAX_TITLE, unique=True)
    topic = models.CharField(max_length=80, blank=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("chat:room", args=[self.slug])

    @property
    def group(self) -> str:
        """The channel group of all sockets in this room."""
        return f"chat.room.{self.pk}"


class Line(models.Model):
    """One thing that was said."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="lines")
    author = models.CharField(max_length=16)
    name = models.CharField(max_length=MAX_NAME)
    text = models.TextField(max_length=MAX_TEXT)
    at = models.DateTimeField(auto_now_add=True)
    # Made up by the page: a line that is sent again, because the answer to the
    # first was lost with the connection, is still said once.
    ref = models.UUIDField(editable=False)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["room", "ref"], name="said_once")]

    def __str__(self) -> str:
        return f"{self.name}: {self.text[:60]}"


class Seat(models.Model):
    """
    One socket in one room, and whose it is.

    A seat can outlive its socket, when the interface server ends without a
    word; C{presence.py} says how that is seen through and mended.
    """

    channel = models.CharField(primary_key=True, max_length=200)
    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="seats")
    author = models.CharField(max_length=16)
    name = models.CharField(max_length=MAX_NAME)
    since = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} in {self.room}"
