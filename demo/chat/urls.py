from __future__ import annotations

from django.urls import path

from chat import views

app_name = "chat"
urlpatterns = [
    path("", views.lobby, name="lobby"),
    path("name/", views.choose_name, name="choose_name"),
    path("open/", views.open_room, name="open_room"),
    path("<slug:slug>/", views.room, name="room"),
    path("<slug:slug>/earlier/<int:before>/", views.earlier, name="earlier"),
]
