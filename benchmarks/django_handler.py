"""
What the Django side costs: C{DjangoApplication.run} beside Django's own
C{WSGIHandler}, for one trivial view, in one thread, with nothing around them.

Run C{python benchmarks/django_handler.py}.  The two take turns, so that a
machine busy with other things troubles both alike; the best round of each counts.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

ROUNDS = 12
REQUESTS = 1_500

TYPICAL_MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]

HEADERS = [
    (b"host", b"localhost:8000"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
]


def hello(request: HttpRequest) -> HttpResponse:
    """Answer without looking at anything."""
    return HttpResponse("hello")


urlpatterns = [path("", hello)]


def wsgi_request() -> Callable[[], None]:
    """One request through Django's handler, with an environ made beforehand."""
    from django.core.wsgi import get_wsgi_application

    application = get_wsgi_application()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "50000",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in HEADERS:
        environ["HTTP_" + name.decode().upper().replace("-", "_")] = value.decode()

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        pass

    def one() -> None:
        response = application({**environ, "wsgi.input": io.BytesIO()}, start_response)
        b"".join(response)
        response.close()

    return one


def message_request() -> Callable[[], None]:
    """One request through the application, with a message made beforehand."""
    from chanserv.django import DjangoApplication
    from chanserv.worker.outbox import Outbox

    application = DjangoApplication()
    message: dict[str, Any] = {
        "reply_channel": "chanserv.response.abcdefgh!1",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "query_string": b"",
        "root_path": "",
        "headers": [list(header) for header in HEADERS],
        "body": b"",
        "client": ["127.0.0.1", 50000],
        "server": ["127.0.0.1", 8000],
    }

    def one() -> None:
        outbox = Outbox()
        application.run("http.request", dict(message), outbox)
        assert len(outbox.operations) == 1

    return one


def rate(one: Callable[[], None]) -> float:
    """Requests a second, over one round."""
    began = time.perf_counter()
    for _ in range(REQUESTS):
        one()
    return REQUESTS / (time.perf_counter() - began)


def main(middleware: list[str]) -> None:
    """Measure with some middleware, and print a line."""
    settings.MIDDLEWARE = middleware
    contestants = (wsgi_request(), message_request())
    best = [0.0, 0.0]
    for _ in range(ROUNDS):
        for index, one in enumerate(contestants):
            best[index] = max(best[index], rate(one))
    django_rate, ours = best
    print(
        f"{len(middleware)} middleware: WSGIHandler {django_rate:,.0f} req/s, "
        f"DjangoApplication.run {ours:,.0f} req/s, ratio {ours / django_rate:.2f}"
    )


if __name__ == "__main__":
    settings.configure(
        SECRET_KEY="only for measuring",
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["chanserv.django"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        MIDDLEWARE=[],
    )
    main([])
    main(TYPICAL_MIDDLEWARE)
