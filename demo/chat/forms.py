"""The chat's two forms: a name, and a new room."""

from __future__ import annotations

import unicodedata
from typing import Any

from django import forms
from django.utils.text import slugify

from chat.models import MAX_NAME, MAX_ROOMS, Room


class NameForm(forms.Form):
    """What a visitor wants to be called."""

    name = forms.CharField(
        label="Your name",
        max_length=MAX_NAME,
        widget=forms.TextInput(attrs={"autocomplete": "nickname", "placeholder": "Ada"}),
    )

    def clean_name(self) -> str:
        name = " ".join(self.cleaned_data["name"].split())
        # Control and formatting characters could make one name look like another,
        # or turn the writing direction of the page.
        if any(unicodedata.category(letter).startswith("C") for letter in name):
            raise forms.ValidationError("A name is made of characters one can see.")
        return name


class RoomForm(forms.ModelForm):
    """A new room."""

    class Meta:
        model = Room
        fields = ["title", "topic"]
        labels = {"title": "Title", "topic": "What it is about"}
        widgets = {
            "title": forms.TextInput(attrs={"placeholder": "Book club"}),
            "topic": forms.TextInput(attrs={"placeholder": "optional"}),
        }

    def clean(self) -> dict[str, Any]:
        if Room.objects.count() >= MAX_ROOMS:
            raise forms.ValidationError(f"There are {MAX_ROOMS} rooms: as many as fit.")
        return super().clean()

    def save(self, commit: bool = True) -> Room:
        # A title may have no letter that fits an address; its number always does.
        slug = slugify(self.instance.title)[:40] or "room"
        taken = {"name", "open", *Room.objects.values_list("slug", flat=True)}
        number, self.instance.slug = 1, slug
        while self.instance.slug in taken:
            number += 1
            self.instance.slug = f"{slug}-{number}"
        return super().save(commit)
