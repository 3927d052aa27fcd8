"""The pages.  Sockets and long polls are in C{routing.py}."""

from __future__ import annotations

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView, TemplateView

urlpatterns = [
    path("", TemplateView.as_view(template_name="home.html"), name="home"),
    path("chat/", include("chat.urls")),
    path("bell/", include("bell.urls")),
    path("upload/", include("uploads.urls")),
    path("admin/", admin.site.urls),
    # For pages that are not ours, such as the one of an error.
    path("favicon.ico", RedirectView.as_view(url=static("icon.svg"))),
]
