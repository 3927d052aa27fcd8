"""What one process is to serve, in checked values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from chanserv.errors import ConfigurationError
from chanserv.server.limits import Limits
from chanserv.server.proxies import DEFAULT_ADDRESS_HEADER, DEFAULT_TRUSTED
from chanserv.worker.team import DEFAULT_STOP_TIMEOUT, DEFAULT_THREADS, MAX_THREADS

DEFAULT_ENDPOINT: Final = "tcp:8000:interface=127.0.0.1"
"""Where to listen when nothing is said: Django's port, and only this machine."""

MAX_WORKERS: Final = 256
"""Worker processes of one supervisor: more than any machine of today has cores for
each of which there would be one.  More is a slip of the keyboard."""


class OnlyThisProcess(ConfigurationError):
    """A layer that reaches only this process is to connect it with others."""


SHORTEST_STUCK: Final = 5.0
"""Seconds after which a worker may count as stuck, at the least: it gives a sign of life
each second, and on a busy machine some of these come late."""


@dataclass(frozen=True, slots=True)
class Config:
    """
    What one process is to serve.

    @ivar settings: the dotted path of a Django site's settings; L{None} for an
        interface server without a site.
    @ivar layer: a URL, a dotted path or an alias in C{CHANNEL_LAYERS}; L{None}
        for the site's default.
    @ivar listen: Twisted endpoint strings; empty for no interface server.
    @ivar threads: how many consumers run at once; 0 for none.
    @ivar ordered: whether one socket's events wait for each other.
    @ivar compression: whether WebSockets may be compressed (permessage-deflate).
    @ivar root_path: where the site is mounted, as C{SCRIPT_NAME}.
    @ivar access_log: the path of a file, C{-} for standard output, or L{None}.
    @ivar stop_timeout: seconds that a stop waits for consumers.
    @ivar workers: how many worker processes to supervise; 0 for threads in this one.
    @ivar finish_timeout: the same for a worker process whose place another has taken.
    @ivar start_timeout: seconds in which a worker process must have loaded the site.
    @ivar stuck_after: seconds after which a worker counts as stuck all of whose
        threads have run one consumer for that long, or that gives no sign of life.
    @ivar replace_stuck: whether a stuck worker is killed and started anew.
    @ivar release: a label for this code, shown with its workers; or C{@} and the path
        of a file that begins with it, which is read anew for each new worker process.
    @ivar release_from: where that label was read, as it was given; not for operators.
    @ivar layer_mark: what tells the layer of a worker's supervisor from others.
    @ivar only_channels: globs of the channels that workers read; empty for all.
    @ivar exclude_channels: globs of those that they do not.
    @ivar narrate: whether workers say in the log what they run.
    @ivar static_files: whether workers serve static files; L{None} for as C{DEBUG} says.
    @ivar reload: whether workers are replaced when a file of the site changes.
    @ivar metrics: the endpoint for metrics and health, or L{None}.
    @ivar log_format: C{"text"} or C{"json"}.
    @ivar proxy_headers: whether trusted proxies are believed what they say of clients.
    @ivar trusted_proxies: their addresses and networks, and C{unix}.
    @ivar proxy_headers_host: the header that has the client's address.
    @ivar proxy_headers_port: one that has the client's port, or L{None}.
    @ivar request_ids: whether each request gets an id, where it has none.
    @ivar server_name: what the C{Server} header says, empty for no header;
        L{None} for our own name.
    """

    settings: str | None = None
    layer: str | None = None
    listen: tuple[str, ...] = (DEFAULT_ENDPOINT,)
    threads: int = DEFAULT_THREADS
    ordered: bool = True
    compression: bool = False
    root_path: str = ""
    access_log: str | None = None
    limits: Limits = field(default_factory=Limits)
    stop_timeout: float = DEFAULT_STOP_TIMEOUT
    workers: int = 0
    finish_timeout: float = 300.0
    start_timeout: float = 120.0
    stuck_after: float = 60.0
    replace_stuck: bool = False
    release: str = ""
    release_from: str = ""
    layer_mark: str = ""
    only_channels: tuple[str, ...] = ()
    exclude_channels: tuple[str, ...] = ()
    narrate: bool = False
    static_files: bool | None = None
    reload: bool = False
    metrics: str | None = None
    log_format: str = "text"
    proxy_headers: bool = False
    trusted_proxies: tuple[str, ...] = DEFAULT_TRUSTED
    proxy_headers_host: str = DEFAULT_ADDRESS_HEADER
    proxy_headers_port: str | None = None
    request_ids: bool = True
    server_name: str | None = None

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ConfigurationError(f"--threads={self.threads} must be 0 (none) or more")
        if self.threads > MAX_THREADS:
            raise ConfigurationError(f"--threads={self.threads} must not be above {MAX_THREADS}")
        if self.settings is None and not self.listen:
            raise ConfigurationError(
                "--no-listen without --settings leaves nothing to do: give "
                "--settings=mysite.settings to run a site's workers here, or an endpoint "
                "to --listen on"
            )
        if self.settings is not None and not self.listen and not self.threads:
            raise ConfigurationError(
                "--no-listen with --threads=0 leaves nothing to do: leave one of them out"
            )
        self._check_workers()
        if (self.only_channels or self.exclude_channels) and self.settings is None:
            option = "--only-channels" if self.only_channels else "--exclude-channels"
            raise ConfigurationError(
                f"{option} is for the workers of a site: give --settings, or leave it out"
            )

    def _check_workers(self) -> None:
        if not 0 <= self.workers <= MAX_WORKERS:
            raise ConfigurationError(
                f"--workers={self.workers} must be 0, for threads in this process, to {MAX_WORKERS}"
            )
        if self.workers and self.settings is None:
            raise ConfigurationError(
                f"--workers={self.workers} are to run a site: give --settings=mysite.settings, or "
                f"leave it out"
            )
        if self.workers and not self.threads:
            raise ConfigurationError(
                f"--workers={self.workers} with --threads=0 would run nothing: --threads is for "
                f"each of them"
            )
        if self.reload and not self.workers:
            raise ConfigurationError(
                "--reload replaces worker processes, and there are none: give --workers=1 too, and "
                "a --layer that processes share, such as ipc:mysite"
            )
        if self.replace_stuck and not self.workers:
            raise ConfigurationError(
                "--replace-stuck replaces worker processes, and there are none: give --workers=1 "
                "too, or leave it out"
            )
        if self.start_timeout <= 0:
            raise ConfigurationError(f"--start-timeout={self.start_timeout:g} must be above 0")
        if self.stuck_after < SHORTEST_STUCK:
            raise ConfigurationError(
                f"--stuck-after={self.stuck_after:g} must be {SHORTEST_STUCK:g} s or more: a busy "
                f"machine may keep a worker from running for some seconds"
            )
