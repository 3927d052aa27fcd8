import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from site_under_test.noted import noted

from chanserv.django import Channel, Group, ResponseLater

PART = b"x" * 65536


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


@csrf_exempt
def digest(request: HttpRequest) -> HttpResponse:
    """The SHA-256 of the request's body, read in parts."""
    body = hashlib.sha256()
    while part := request.read(65536):
        body.update(part)
    return HttpResponse(body.hexdigest())


@csrf_exempt
def unread(request: HttpRequest) -> HttpResponse:
    """Answers without a look at the body."""
    return HttpResponse("not read")


@csrf_exempt
def about(request: HttpRequest) -> HttpResponse:
    """What the view was given, and a header of its own."""
    return JsonResponse(
        {
            "method": request.method,
            "path": request.path,
            "query": request.META["QUERY_STRING"],
            "META": {key: value for key, value in request.META.items() if key.startswith("HTTP_")},
            "body": len(request.body),
        }
    )


def slow(request: HttpRequest, milliseconds: int) -> HttpResponse:
    time.sleep(milliseconds / 1000)
    return HttpResponse(f"slow {milliseconds}")


def pid(request: HttpRequest) -> HttpResponse:
    """Which process runs the view."""
    return JsonResponse({"pid": os.getpid()})


def hold(request: HttpRequest, name: str) -> HttpResponse:
    """
    Say by a file C{name.pid} that the view has begun, and answer when there is
    a file C{name}, in the folder that the environment names.
    """
    folder = Path(os.environ["CHANSERV_TEST_FOLDER"])
    (folder / f"{name}.{os.getpid()}").touch()
    deadline = time.monotonic() + 120
    while not (folder / name).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return JsonResponse({"pid": os.getpid()})


def status(request: HttpRequest, status: int) -> HttpResponse:
    return HttpResponse(b"" if status in (204, 304) else b"body", status=status)


def stream(request: HttpRequest, megabytes: int) -> StreamingHttpResponse:
    """So many megabytes, made as they are sent."""

    def parts() -> Iterator[bytes]:
        try:
            for _ in range(megabytes * 16):
                yield PART
            noted.append("stream ended")
        except GeneratorExit:
            noted.append("stream closed")
            raise

    return StreamingHttpResponse(parts())


def ticks(request: HttpRequest) -> StreamingHttpResponse:
    """A line every twentieth of a second, for ever."""

    def parts() -> Iterator[bytes]:
        try:
            while True:
                yield b"tick\n"
                time.sleep(0.05)
        finally:
            noted.append("ticks closed")

    return StreamingHttpResponse(parts(), content_type="text/event-stream")


def file(request: HttpRequest, megabytes: int) -> FileResponse:
    content = tempfile.TemporaryFile()  # noqa: SIM115  # the response closes it
    content.truncate(megabytes * 1024 * 1024)
    return FileResponse(content, content_type="application/octet-stream")


def later(request: HttpRequest) -> HttpResponse:
    """Answered by whoever sends to the group C{later}."""
    Group("later").add(request.reply_channel)  # type: ignore[attr-defined]
    raise ResponseLater


def answer(request: HttpRequest) -> HttpResponse:
    Group("later").send({"status": 200, "headers": [], "content": b"at last"})
    return HttpResponse("answered")


def cookies(request: HttpRequest, count: int) -> HttpResponse:
    response = HttpResponse("cookies")
    for number in range(count):
        response.set_cookie(f"cookie{number}", str(number))
    return response


def headers(request: HttpRequest) -> HttpResponse:
    response = HttpResponse("headers")
    response["X-Latin"] = "Grüße"
    response["X-Other"] = "こんにちは"
    return response


def send(request: HttpRequest, group: str, count: int) -> HttpResponse:
    """So many messages to a group; C{?now} for each at once."""
    for number in range(count):
        Group(group).send({"text": f"{number}"}, immediately="now" in request.GET)
    return HttpResponse("sent")


def from_thread(request: HttpRequest, group: str) -> HttpResponse:
    """A message to a group, sent by a thread that the view starts and leaves."""

    def run() -> None:
        time.sleep(0.05)
        Group(group).send({"text": "from a thread"})
        Channel("note").send({"note": "from a thread"})

    threading.Thread(target=run).start()
    return HttpResponse("started")


def members(request: HttpRequest, group: str) -> HttpResponse:
    layer = Group(group).channel_layer.channel_layer  # type: ignore[attr-defined]
    return JsonResponse({"members": sorted(layer.group_channels(group))})


def notes(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"notes": list(noted), "threads": threading.active_count()})


urlpatterns = [
    path("", hello),
    path("digest/", digest),
    path("unread/", unread),
    path("slow/<int:milliseconds>/", slow),
    path("pid/", pid),
    path("hold/<str:name>/", hold),
    path("status/<int:status>/", status),
    path("stream/<int:megabytes>/", stream),
    path("ticks/", ticks),
    path("file/<int:megabytes>/", file),
    path("later/", later),
    path("answer/", answer),
    path("cookies/<int:count>/", cookies),
    path("headers/", headers),
    path("send/<str:group>/<int:count>/", send),
    path("from-thread/<str:group>/", from_thread),
    path("members/<str:group>/", members),
    path("notes/", notes),
    path("about/", about),
    path("about/<path:rest>", lambda request, rest: about(request)),
]
