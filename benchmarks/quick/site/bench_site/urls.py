"""One page, from a plain view."""

from django.http import HttpRequest, HttpResponse
from django.urls import path


def page(request: HttpRequest) -> HttpResponse:
    """Answer with a little HTML."""
    text = f"<!doctype html><title>Hello</title><p>This is {request.path}.</p>\n"
    return HttpResponse(text, headers={"Content-Length": len(text)})


urlpatterns = [path("", page)]
