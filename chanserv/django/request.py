"""
A message on C{http.request} as a Django request.

Built once for each request, so it does only what nearly every request needs:
C{META} from one dict of constants and one pass over the headers.  C{GET},
C{COOKIES}, C{POST}, C{FILES} and the body are worked out when first asked for.

Source: PEP 3333 for C{META}; the ASGI 1 HTTP message format.
"""

from __future__ import annotations

import sys
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, Final

from django.conf import settings
from django.http import HttpRequest, QueryDict
from django.http.cookie import parse_cookie
from django.http.request import UnreadablePostError
from django.utils.datastructures import MultiValueDict
from django.utils.functional import cached_property

from chanserv.django.body import fetch_body

if TYPE_CHECKING:
    from django.core.files.uploadedfile import UploadedFile

    from chanserv.django.channel import Channel
    from chanserv.django.message import Message

_CONSTANT_META: Final[dict[str, Any]] = {
    "GATEWAY_INTERFACE": "CGI/1.1",
    "SERVER_SOFTWARE": "chanserv",
    "wsgi.version": (1, 0),
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}

MAX_KNOWN_NAMES: Final = 1024
"""How many header names have their C{META} keys kept: every name in common use,
and no more of what clients make up."""

_meta_names: dict[bytes, str | None] = {}


def meta_name(header: bytes) -> str | None:
    """
    The key in C{META} for a header.

    @param header: its name.
    @return: the key; L{None} for a name with an underscore, which could pass
        for another header behind it.
    """
    if b"_" in header:
        name = None
    else:
        upper = header.decode("latin-1").upper().replace("-", "_")
        name = upper if upper in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{upper}"
    if len(_meta_names) < MAX_KNOWN_NAMES:
        _meta_names[header] = name
    return name


def script_name_of(content: dict[str, Any]) -> str:
    """
    Where the site is mounted: C{FORCE_SCRIPT_NAME}, or what the server says.

    @param content: an C{http.request} message.
    """
    if settings.FORCE_SCRIPT_NAME is not None:
        forced: str = settings.FORCE_SCRIPT_NAME
        return forced
    root_path: str | bytes = content.get("root_path") or ""
    return root_path.decode() if isinstance(root_path, bytes) else root_path


def path_info_of(path: str, script_name: str) -> str:
    """
    The path within the site.

    @param path: the path of the request.
    @param script_name: where the site is mounted.  A proxy may have taken it
        off already; then the path is as it should be.
    """
    prefix = script_name.rstrip("/")
    if prefix and (path == prefix or path.startswith(prefix + "/")):
        path = path[len(prefix) :]
    return path or "/"


class AsgiRequest(HttpRequest):
    """
    A request that came as a message.

    @ivar message: the message.
    @ivar failed: whether an exception has ended the view, or what stands around it.
    """

    failed = False
    _body_failure: tuple[object, ...] | None = None
    _encoding: str | None
    _files: MultiValueDict[str, UploadedFile[Any]]

    def __init__(self, message: Message) -> None:
        """
        @param message: one from C{http.request}, or with its keys.
        """
        content = message.content
        self.message = message
        method: str = content["method"]
        self.method = method.upper()
        script_name = script_name_of(content)
        if script_name:
            self.path_info = path_info_of(content["path"], script_name)
            self.path = f"{script_name.rstrip('/')}/{self.path_info.removeprefix('/')}"
        else:
            self.path = self.path_info = content["path"] or "/"
        self.resolver_match = None
        self._read_started = False
        self.META = meta = _CONSTANT_META.copy()
        meta["REQUEST_METHOD"] = self.method
        meta["SCRIPT_NAME"] = script_name
        meta["PATH_INFO"] = self.path_info
        query: bytes = content.get("query_string") or b""
        meta["QUERY_STRING"] = query.decode("latin-1") if query else ""
        meta["SERVER_PROTOCOL"] = "HTTP/" + content.get("http_version", "1.1")
        meta["wsgi.url_scheme"] = content.get("scheme") or "http"
        meta["wsgi.errors"] = sys.stderr
        _add_addresses(meta, content)
        _add_headers(meta, content["headers"])
        if "CONTENT_TYPE" in meta:
            self._set_content_type_params(meta)  # type: ignore[attr-defined]
        else:
            self.content_type = ""
            self.content_params = {}

    @property
    def environ(self) -> dict[str, Any]:
        """C{META}, under the name that code written for WSGI looks for."""
        return self.META

    @cached_property
    def reply_channel(self) -> Channel | None:
        """Where the response goes, for a view that leaves it to another consumer."""
        return self.message.reply_channel

    def _get_scheme(self) -> str:
        scheme: str = self.META["wsgi.url_scheme"]
        return scheme

    @cached_property
    def GET(self) -> QueryDict:  # type: ignore[override]
        """The parameters in the query string."""
        return QueryDict(self.message.content.get("query_string") or b"", encoding=self._encoding)

    @cached_property
    def COOKIES(self) -> dict[str, str]:  # type: ignore[override]
        """The cookies that came with the request."""
        raw: str = self.META.get("HTTP_COOKIE", "")
        return parse_cookie(raw.encode("latin-1").decode(errors="replace")) if raw else {}

    def _get_post(self) -> QueryDict:
        if not hasattr(self, "_post"):
            self._load_post_and_files()
        return self._post

    def _set_post(self, post: QueryDict) -> None:
        self._post = post

    POST = property(_get_post, _set_post)

    @property
    def FILES(self) -> Any:  # type: ignore[override]
        """The uploaded files."""
        if not hasattr(self, "_files"):
            self._load_post_and_files()
        return self._files

    @cached_property
    def _stream(self) -> IO[bytes]:  # type: ignore[override]
        """
        The body as a file; Django's own request methods read from it.

        @raise UnreadablePostError: it is not whole.
        """
        content = self.message.content
        first: bytes = content.get("body") or b""
        channel = content.get("body_channel")
        if not channel:
            return BytesIO(first)
        if self._body_failure is not None:
            # A new one each time: one that is raised twice is its own cause.
            raise UnreadablePostError(*self._body_failure)
        layer = self.message.channel_layer.channel_layer
        try:
            body = fetch_body(layer, first, channel, self._declared_length())
        except UnreadablePostError as error:
            self._body_failure = error.args
            raise
        self._spooled = body
        return body

    def _declared_length(self) -> int | None:
        declared: str = self.META.get("CONTENT_LENGTH", "")
        return int(declared) if declared.isascii() and declared.isdigit() else None

    def close(self) -> None:
        """Close uploaded files, and the body.  Called when the response is."""
        super().close()
        spooled: IO[bytes] | None = self.__dict__.pop("_spooled", None)
        if spooled is not None:
            spooled.close()


def _add_addresses(meta: dict[str, Any], content: dict[str, Any]) -> None:
    client = content.get("client")
    if client:
        meta["REMOTE_ADDR"] = meta["REMOTE_HOST"] = client[0]
        meta["REMOTE_PORT"] = str(client[1])
    else:
        # A Unix socket has no address; WSGI servers give an empty one.
        meta["REMOTE_ADDR"] = meta["REMOTE_HOST"] = ""
    server = content.get("server")
    if server:
        meta["SERVER_NAME"] = server[0]
        meta["SERVER_PORT"] = str(server[1])
    else:
        meta["SERVER_NAME"] = "unknown"
        meta["SERVER_PORT"] = "0"


def _add_headers(meta: dict[str, Any], headers: list[list[bytes]]) -> None:
    known = _meta_names
    for header, value in headers:
        name = known[header] if header in known else meta_name(header)
        if name is None:
            continue
        text = value.decode("latin-1")
        if name not in meta:
            meta[name] = text
        elif name == "HTTP_COOKIE":
            # RFC 6265 section 5.4 and RFC 9113 section 8.2.3.
            meta[name] = f"{meta[name]}; {text}"
        else:
            # RFC 9110 section 5.3.
            meta[name] = f"{meta[name]},{text}"
