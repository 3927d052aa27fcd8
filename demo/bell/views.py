"""The bell's page, and its rope."""

from __future__ import annotations

from chat.visitors import visitor_of
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from bell import answers
from bell.models import Bell
from bell.patience import SECONDS
from chanserv.django import Group


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """The bell, as it hangs now."""
    return render(request, "bell/bell.html", {"bell": Bell.the_one(), "patience": SECONDS})


@require_POST
def ring(request: HttpRequest) -> JsonResponse:
    """Ring it: answer all requests that wait for that."""
    visitor = visitor_of(request.session, request.user)
    bell = Bell.ring(visitor.name if visitor else "").shown()
    Group(answers.WAITING).send(answers.news(bell))
    return JsonResponse(bell)
