"""
Worker processes as a part of what one process serves.

C{SIGHUP} has them replaced.  A process whose site runs in threads of its own does
not know new code, and says what does.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from chanserv.core.defaults import WORKERS_GROUP
from chanserv.errors import ConfigurationError
from chanserv.interfaces import IChannelLayer
from chanserv.layers.reach import keeps_a_roll, within_process
from chanserv.running.child import orders
from chanserv.running.config import OnlyThisProcess
from chanserv.supervision.actions import Rules
from chanserv.supervision.changes import Changes
from chanserv.supervision.release import FROM_FILE, Release
from chanserv.supervision.supervisor import Supervisor

if TYPE_CHECKING:
    from chanserv.running.config import Config

_log: Final = Logger(namespace="chanserv")


def layer_to_supervise(config: Config) -> Any:
    """
    What the layer is made from where workers have processes of their own.

    Of the site only the settings are read, and these only where they name the layer:
    its code is the workers' to load, as often as it changes.

    @raise ConfigurationError: the settings cannot be read, or name no such layer.
    """
    assert config.settings is not None
    if config.layer is not None and ":" in config.layer:
        return config.layer
    from chanserv.site import read_settings

    return read_settings(config.settings).layer_of(config.layer)[0]


def make_supervisor(
    config: Config,
    spec: Any,
    layer: IChannelLayer,
    reactor: Any,
    *,
    also: Mapping[str, Any] | None = None,
    **how: Any,
) -> Supervisor:
    """
    Make what runs the workers that C{config} asks for.

    @param spec: what C{layer} was made from.
    @param also: what workers are told besides.
    @param how: how they are started: further arguments of L{Supervisor}.
    @raise OnlyThisProcess: no other process reaches that layer.
    """
    if within_process(layer):
        raise OnlyThisProcess(
            f"--workers={config.workers} needs a layer that other processes reach, and a memory "
            f"layer reaches only this one: give --layer=ipc:NAME, or leave --workers out and give "
            f"--threads"
        )
    release = Release(config.release_from or config.release)
    supervisor = Supervisor(
        Rules(
            workers=config.workers,
            stop_timeout=config.stop_timeout,
            finish_timeout=config.finish_timeout,
            # One that cannot load the site waits, until a file has changed.
            start_timeout=math.inf if config.reload else config.start_timeout,
            stuck_after=config.stuck_after,
            replace_stuck=config.replace_stuck,
            loading=max(1, (os.cpu_count() or 1) // 2),
        ),
        {**orders(config, layer_mark(spec)), **(also or {})},
        reactor,
        release=release,
        threads=config.threads,
        folder=folder_to_work_in(),
        **how,
    )
    if config.reload:
        supervisor.heard["changed"] = Changes(supervisor.reload, reactor.callLater).heard

    def strike_off(channel: str) -> None:
        # The layer would notice by itself, over some layers some seconds later.
        maybeDeferred(layer.group_discard, WORKERS_GROUP, channel).addErrback(lambda _: None)

    if keeps_a_roll(layer):
        supervisor.on_left = strike_off
    return supervisor


def layer_mark(spec: Any) -> str:
    """
    Something short that is another for another layer, and gives no password away.
    """
    return hashlib.sha256(json.dumps(_in_order(spec), sort_keys=True).encode()).hexdigest()[:16]


def _in_order(value: Any) -> Any:
    """C{value} as JSON, whatever order and types its keys have."""
    if isinstance(value, Mapping):
        return {str(key): _in_order(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_in_order(one) for one in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    return type(value).__qualname__


def check_mark(mark: str, spec: Any) -> None:
    """
    Check that a worker is about to use its supervisor's layer.

    @param mark: of the supervisor's; empty for any.
    @raise ConfigurationError: it is another.
    """
    if mark and mark != layer_mark(spec):
        raise ConfigurationError(
            "the site's CHANNEL_LAYERS now names another layer than when chanserv began: "
            "interface server and workers would not reach each other; restart all of chanserv"
        )


def with_release(config: Config) -> Config:
    """
    C{config} with the label of the release that its C{release} says where to read.

    @raise ConfigurationError: there is no such file.
    """
    if not config.release.startswith(FROM_FILE):
        return config
    path = os.path.join(folder_to_work_in(), config.release[1:])
    if not os.path.isfile(path):
        raise ConfigurationError(
            f"--release={config.release}: there is no file {path}, which is to begin with the "
            f"release's label"
        )
    given = FROM_FILE + path
    return replace(config, release=Release(given).read(), release_from=given)


def folder_to_work_in() -> str:
    """
    The current directory by the name under which it was entered.

    That name may be a link to the newest release, which new workers should follow.
    """
    here = os.getcwd()
    name = os.environ.get("PWD", "")
    try:
        if os.path.isabs(name) and os.path.samefile(name, here):
            return name
    except OSError:
        pass
    return here


def heed_hangups(supervisor: Supervisor | None, call_from_thread: Callable[..., object]) -> None:
    """
    Replace workers at C{SIGHUP}; without any, say what does instead.

    @param call_from_thread: the reactor's C{callFromThread}.
    """

    def answer() -> None:
        if supervisor is not None:
            supervisor.replace("SIGHUP")
        else:
            _log.warn(
                "SIGHUP changes nothing here, where no worker processes are that could be "
                "replaced. With --workers=N, and a --layer such as ipc:NAME, it starts new ones "
                "that run the site's new code; without, restart chanserv"
            )

    def heard(number: int, frame: object) -> None:
        call_from_thread(answer)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, heard)
