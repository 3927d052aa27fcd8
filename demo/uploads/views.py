"""An upload: the server says how much arrived and what its fingerprint is."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

MAX_BYTES = 100 * 1024 * 1024
"""The largest file: enough to watch the bar move, little enough for any disk."""


@dataclass(frozen=True)
class Arrived:
    """What is known of a file when it has come and gone; its size is in bytes."""

    name: str
    size: int
    sha256: str


@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest) -> HttpResponse:
    """The page; and its answer to a file, as JSON for the script that asks for that."""
    arrived, problem = None, ""
    if request.method == "POST":
        file = request.FILES.get("file")
        if file is None:
            problem = "No file came with that."
        elif file.size > MAX_BYTES:
            problem = f"That is more than {MAX_BYTES // 2**20} MB."
        else:
            arrived = fingerprint(file)
    status = 400 if problem else 200
    if request.accepts("text/html"):
        context = {"arrived": arrived, "problem": problem, "max_bytes": MAX_BYTES}
        return render(request, "uploads/upload.html", context, status=status)
    return JsonResponse(asdict(arrived) if arrived else {"problem": problem}, status=status)


def fingerprint(file: UploadedFile) -> Arrived:
    """Read C{file} once, in pieces; Django throws it away after the request."""
    digest, size = hashlib.sha256(), 0
    for chunk in file.chunks():
        digest.update(chunk)
        size += len(chunk)
    return Arrived(file.name or "", size, digest.hexdigest())
