"""
The body of a request, as a file.

The first part comes with the request; the rest, where there is more, waits on
a single-reader channel.  It is fetched when something first reads the body,
all of it, into memory up to Django's C{FILE_UPLOAD_MAX_MEMORY_SIZE} and to disk
past that; so a view that does not look at an upload does not pay for it.
"""

from __future__ import annotations

import time
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any, Final

from django.conf import settings
from django.http.request import UnreadablePostError

from chanserv.errors import ChannelLayerError

if TYPE_CHECKING:
    from chanserv.interfaces import IBlockingChannelLayer

BODY_PATIENCE: Final = 60.0
"""Seconds to wait for the next part of a body.  The server holds the whole body
before it sends the request, so only a stuck layer takes long; this is the
default expiry, after which a part that was sent is gone anyway."""


def fetch_body(
    layer: IBlockingChannelLayer,
    first: bytes,
    channel: str,
    length: int | None,
    patience: float = BODY_PATIENCE,
) -> IO[bytes]:
    """
    Gather a request body.

    @param layer: the layer that the request came over.
    @param first: the part that came with the request.
    @param channel: where the others are.
    @param length: its whole length in bytes, where the client's headers say.
    @param patience: how many seconds to wait for each part.
    @return: a file at its beginning; the caller closes it.
    @raise UnreadablePostError: the client left, a part did not come in time,
        or parts are missing.
    """
    body = SpooledTemporaryFile(  # noqa: SIM115 - it is returned
        max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE,
        mode="w+b",
        dir=settings.FILE_UPLOAD_TEMP_DIR,
    )
    try:
        body.write(first)
        more = True
        while more:
            part = _next_part(layer, channel, patience)
            if part.get("closed"):
                raise UnreadablePostError("the client left before its request body was whole")
            body.write(part.get("content", b""))
            more = bool(part.get("more_content"))
        size = body.tell()
        if length is not None and size != length:
            raise UnreadablePostError(f"the request body has {size} bytes of {length}")
        body.seek(0)
    except BaseException:
        body.close()
        raise
    return body


def _next_part(layer: IBlockingChannelLayer, channel: str, patience: float) -> dict[str, Any]:
    deadline = time.monotonic() + patience
    while True:
        try:
            _, part = layer.receive([channel], block=True)
        except ChannelLayerError as error:
            raise UnreadablePostError(f"the request body cannot be fetched: {error}") from error
        if part is not None:
            return part
        if time.monotonic() >= deadline:
            raise UnreadablePostError(
                f"the next part of the request body did not come within {patience:g} s"
            )
