from __future__ import annotations

from django.contrib import admin

from chat.models import Line, Room


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin):
    list_display = ["title", "slug", "topic"]
    prepopulated_fields = {"slug": ["title"]}


@admin.register(Line)
class LineAdmin(admin.ModelAdmin):
    list_display = ["at", "room", "name", "text"]
    list_filter = ["room"]
    date_hierarchy = "at"
