from __future__ import annotations

from django.urls import path

from bell import views

app_name = "bell"
urlpatterns = [
    path("", views.page, name="page"),
    path("ring/", views.ring, name="ring"),
]
