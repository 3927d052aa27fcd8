"""The chat's pages, and the way back in its history."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from chat import history, presence
from chat.forms import NameForm, RoomForm
from chat.models import MAX_TEXT, Room
from chat.visitors import SESSION_KEY, visitor_of


@require_GET
def lobby(request: HttpRequest) -> HttpResponse:
    """All rooms, and who is in them."""
    return _lobby(request)


@require_POST
def choose_name(request: HttpRequest) -> HttpResponse:
    """Keep the visitor's name in the session."""
    form = NameForm(request.POST)
    if not form.is_valid():
        return _lobby(request, name_form=form, status=400)
    request.session[SESSION_KEY] = form.cleaned_data["name"]
    return redirect(_next(request) or "chat:lobby")


@require_POST
def open_room(request: HttpRequest) -> HttpResponse:
    """Make a new room, and go there."""
    form = RoomForm(request.POST)
    if not form.is_valid():
        return _lobby(request, room_form=form, status=400)
    return redirect(form.save())


@require_GET
def room(request: HttpRequest, slug: str) -> HttpResponse:
    """One room; first the name, where there is none yet."""
    found = get_object_or_404(Room, slug=slug)
    visitor = visitor_of(request.session, request.user)
    if visitor is None:
        return _lobby(request, going_to=found)
    context = {"room": found, "visitor": visitor, "max_text": MAX_TEXT}
    return render(request, "chat/room.html", context)


@require_GET
def earlier(request: HttpRequest, slug: str, before: int) -> JsonResponse:
    """What was said before a line."""
    lines = history.before(get_object_or_404(Room, slug=slug), before)
    return JsonResponse(
        {"lines": [history.shown(line) for line in lines], "more": len(lines) == history.PAGE}
    )


def _lobby(
    request: HttpRequest,
    *,
    name_form: NameForm | None = None,
    room_form: RoomForm | None = None,
    going_to: Room | None = None,
    status: int = 200,
) -> HttpResponse:
    visitor = visitor_of(request.session, request.user)
    rooms = [(each, presence.people(each)) for each in Room.objects.all()]
    return render(
        request,
        "chat/lobby.html",
        {
            "rooms": rooms,
            "visitor": visitor,
            "name_form": name_form or NameForm(initial={"name": visitor and visitor.name}),
            "room_form": room_form or RoomForm(),
            "going_to": going_to,
            "next": going_to.get_absolute_url() if going_to else _next(request),
        },
        status=status,
    )


def _next(request: HttpRequest) -> str:
    """Where the visitor was going, when that is a page of this site."""
    target = request.POST.get("next") or request.GET.get("next") or ""
    is_ours = url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()})
    return target if is_ours else ""
