"""Views of every kind of response, and some that tell what they were given."""

import asyncio
import hashlib
import io
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator

from django.contrib import messages
from django.contrib.auth import get_user_model, login
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from chanserv.django import Channel, Group, ResponseLater

closed: list[str] = []
"""What has been closed, in order: iterators, files and responses note it here."""

waiting: list[str] = []
"""Reply channels of the requests that wait for a later response."""


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


@csrf_exempt
def about_request(request: HttpRequest) -> HttpResponse:
    return JsonResponse(
        {
            "method": request.method,
            "path": request.path,
            "path_info": request.path_info,
            "full_path": request.get_full_path(),
            "uri": request.build_absolute_uri(),
            "GET": dict(request.GET.lists()),
            "COOKIES": request.COOKIES,
            "META": {key: value for key, value in request.META.items() if isinstance(value, str)},
            "headers": dict(request.headers),
            "secure": request.is_secure(),
            "content_type": request.content_type,
            "encoding": request.encoding,
        }
    )


@csrf_exempt
def body_digest(request: HttpRequest) -> HttpResponse:
    return JsonResponse(
        {"size": len(request.body), "sha256": hashlib.sha256(request.body).hexdigest()}
    )


@csrf_exempt
def read_in_pieces(request: HttpRequest) -> HttpResponse:
    digest = hashlib.sha256()
    sizes = []
    while piece := request.read(10_000):
        digest.update(piece)
        sizes.append(len(piece))
    return JsonResponse(
        {"size": sum(sizes), "sha256": digest.hexdigest(), "largest": max(sizes, default=0)}
    )


@csrf_exempt
def form(request: HttpRequest) -> HttpResponse:
    return JsonResponse(
        {
            "POST": dict(request.POST.lists()),
            "FILES": {
                name: {
                    "name": upload.name,
                    "size": upload.size,
                    "type": upload.content_type,
                    "sha256": hashlib.sha256(upload.read()).hexdigest(),
                    "kind": type(upload).__name__,
                }
                for name, upload in request.FILES.items()
            },
        }
    )


def guarded_form(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        return HttpResponse("taken: " + request.POST["word"])
    return render(request, "guarded_form.html")


def big(request: HttpRequest, size: int) -> HttpResponse:
    response = HttpResponse(_pattern(size), content_type="application/octet-stream")
    response._resource_closers.append(lambda: closed.append("big"))
    return response


class Noted:
    """An iterator that notes its closing."""

    def __init__(self, name: str, parts: Iterator[bytes]) -> None:
        self.name = name
        self.parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return self.parts

    def close(self) -> None:
        closed.append(self.name)


def stream(request: HttpRequest, count: int, size: int) -> StreamingHttpResponse:
    parts = (bytes([65 + number % 26]) * size for number in range(count))
    return StreamingHttpResponse(Noted("stream", parts), content_type="text/plain")


def stream_async(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d " % number

    return StreamingHttpResponse(parts())


def events_async(request: HttpRequest) -> StreamingHttpResponse:
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def parts() -> AsyncIterator[bytes]:
        try:
            for number in itertools.count():
                # All of it on one loop: a queue belongs to the first that waits for it.
                waiting = asyncio.ensure_future(queue.get())
                await asyncio.sleep(0)
                queue.put_nowait(number)
                yield b"%d " % await waiting
        finally:
            closed.append("events")

    return StreamingHttpResponse(parts())


def stream_breaks(request: HttpRequest, after: int) -> StreamingHttpResponse:
    def parts() -> Iterator[bytes]:
        yield from itertools.repeat(b"part ", after)
        raise RuntimeError("the stream broke")

    return StreamingHttpResponse(Noted("stream-breaks", parts()))


def ticks(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[bytes]:
        for number in itertools.count():
            yield b"tick %d\n" % number
            time.sleep(0.05)

    return StreamingHttpResponse(Noted("ticks", parts()), content_type="text/event-stream")


class NotedFile(io.BytesIO):
    name = "numbers.bin"

    def close(self) -> None:
        if not self.closed:
            closed.append("file")
        super().close()


def file(request: HttpRequest, size: int) -> FileResponse:
    return FileResponse(NotedFile(_pattern(size)), as_attachment=True)


def status(request: HttpRequest, status: int) -> HttpResponse:
    return HttpResponse(b"" if status in (204, 304) else b"body", status=status)


def redirect_home(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect("/")


def cookies(request: HttpRequest) -> HttpResponse:
    response = HttpResponse("two cookies")
    response.set_cookie("first", "1", httponly=True)
    response.set_cookie("second", "two words", max_age=60)
    return response


def count_visits(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


def log_in(request: HttpRequest, name: str) -> HttpResponse:
    user, _ = get_user_model().objects.get_or_create(username=name)
    login(request, user)
    return HttpResponse(name)


def who_am_i(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username() or "nobody")


def leave_message(request: HttpRequest) -> HttpResponse:
    shown = [str(message) for message in messages.get_messages(request)]
    messages.info(request, "you were here")
    return HttpResponse(json.dumps(shown))


def error(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the view broke")


def missing(request: HttpRequest) -> HttpResponse:
    raise Http404("not here")


async def async_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse("async")


def later(request: HttpRequest) -> HttpResponse:
    waiting.append(request.reply_channel.name)
    raise ResponseLater


def tell(request: HttpRequest, channel: str) -> HttpResponse:
    Channel(channel).send({"text": request.GET.get("text", "told")})
    return HttpResponse("sent")


def tell_group(request: HttpRequest, group: str) -> HttpResponse:
    Group(group).send({"text": request.GET.get("text", "told")})
    return HttpResponse("sent")


def page(request: HttpRequest) -> HttpResponse:
    return render(request, "page.html", {"name": "page"})


def slow(request: HttpRequest, milliseconds: int) -> HttpResponse:
    time.sleep(milliseconds / 1000)
    return HttpResponse("slow")


def thread(request: HttpRequest) -> HttpResponse:
    return HttpResponse(threading.current_thread().name)


def _pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]
