"""The rooms that are there from the beginning."""

from __future__ import annotations

from django.db import migrations

ROOMS = [
    ("harbour", "The harbour", "For all who have just come in"),
    ("tea-kitchen", "Tea kitchen", "Small talk, biscuits"),
    ("radio-room", "Radio room", "Sockets, long polls and other wires"),
    ("reading-room", "Reading room", "What is on your table?"),
]


def open_rooms(apps, schema_editor):
    room = apps.get_model("chat", "Room")
    for slug, title, topic in ROOMS:
        room.objects.get_or_create(slug=slug, defaults={"title": title, "topic": topic})


class Migration(migrations.Migration):
    dependencies = [("chat", "0001_initial")]
    operations = [migrations.RunPython(open_rooms, migrations.RunPython.noop)]
