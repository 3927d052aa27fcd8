"""
The channel layers of a site, as its C{CHANNEL_LAYERS} setting names them.

C{channel_layers["default"]} is a wrapper: its C{channel_layer} is the blocking
face of the layer, its C{router} the compiled routing.  A process that runs the
layer itself attaches its face with L{ChannelLayers.attach}; in any other (a
WSGI server, a shell, a task queue) the face is made on first use from the
settings.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.signals import setting_changed
from twisted.logger import Logger

from chanserv.django.exceptions import ImproperChannelLayers
from chanserv.errors import ChannelLayerError
from chanserv.layers.forks import tell_after_fork
from chanserv.messages import Message, Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chanserv.django.routing import Router
    from chanserv.interfaces import IBlockingChannelLayer

_log = Logger()

DEFAULT_CHANNEL_LAYER: Final = "default"

MEMORY_BACKEND: Final = "chanserv.layers.MemoryChannelLayer"
"""What a site without C{CHANNEL_LAYERS} gets."""

_KEYS: Final = ("BACKEND", "CONFIG", "ROUTING")


@dataclass(frozen=True)
class LayerSettings:
    """
    One entry of C{CHANNEL_LAYERS}, checked.

    @ivar backend: the dotted path of the layer's class.
    @ivar config: keyword arguments for it.
    @ivar routing: the routes, or the dotted path of them; L{None} where the
        site has none of its own.
    """

    alias: str
    backend: str = MEMORY_BACKEND
    config: Mapping[str, Any] = field(default_factory=dict)
    routing: Any = None

    @property
    def spec(self) -> dict[str, Any]:
        """What C{chanserv.layers.from_spec.make_layer} makes the layer from."""
        return {"BACKEND": self.backend, "CONFIG": dict(self.config)}


def read_settings() -> dict[str, LayerSettings]:
    """
    Read C{CHANNEL_LAYERS}.

    @return: the layers by alias.  Without the setting, a default one in memory.
    @raise ImproperChannelLayers: it is not what it should be.
    """
    setting = getattr(settings, "CHANNEL_LAYERS", None)
    if setting is None:
        return {DEFAULT_CHANNEL_LAYER: LayerSettings(DEFAULT_CHANNEL_LAYER)}
    if not isinstance(setting, Mapping):
        raise ImproperChannelLayers(
            f"CHANNEL_LAYERS is {setting!r}: it must be a dict of aliases, such as "
            f'{{"default": {{"BACKEND": "{MEMORY_BACKEND}"}}}}'
        )
    return {alias: _read_entry(alias, entry) for alias, entry in setting.items()}


def _read_entry(alias: str, entry: Any) -> LayerSettings:
    name = f"CHANNEL_LAYERS[{alias!r}]"
    if not isinstance(entry, Mapping):
        raise ImproperChannelLayers(
            f"{name} is {entry!r}: it must be a dict with any of {', '.join(_KEYS)}"
        )
    unknown = sorted(str(key) for key in entry if key not in _KEYS)
    if unknown:
        raise ImproperChannelLayers(
            f"{name} has the unknown key {unknown[0]!r}: it knows {', '.join(_KEYS)}"
        )
    backend = entry.get("BACKEND", MEMORY_BACKEND)
    if not isinstance(backend, str):
        raise ImproperChannelLayers(
            f"{name}['BACKEND'] is {backend!r}: it must be the dotted path of a channel "
            f"layer's class, such as {MEMORY_BACKEND!r}"
        )
    config = entry.get("CONFIG", {})
    if not isinstance(config, Mapping):
        raise ImproperChannelLayers(
            f"{name}['CONFIG'] is {config!r}: it must be a dict of the arguments of {backend}"
        )
    return LayerSettings(alias, backend, config, entry.get("ROUTING"))


class ChannelLayerWrapper:
    """
    One channel layer of the site: the layer, and the consumers behind it.

    It offers the methods of its blocking face as its own.  They may be called
    on any thread but the reactor's.

    @ivar alias: its name in C{CHANNEL_LAYERS}.
    @ivar settings: its entry there.
    """

    def __init__(self, layer_settings: LayerSettings) -> None:
        self.alias = layer_settings.alias
        self.settings = layer_settings
        self._spec: Any = layer_settings.spec
        self._attached = False
        self._was_attached = False
        self._lock = threading.RLock()
        self._face: IBlockingChannelLayer | None = None
        self._router: Router | None = None

    @property
    def channel_layer(self) -> IBlockingChannelLayer:
        """
        The layer's blocking face.

        @raise ConfigurationError: it cannot be made from the settings.
        """
        return self._face or self._make_face()

    def _make_face(self) -> IBlockingChannelLayer:
        from chanserv.layers.blocking import blocking_layer

        with self._lock:
            if self._face is None:
                self._face = blocking_layer(self._spec)
                if self._was_attached and getattr(self._face, "within_process", False):
                    _log.warn(
                        "Process {pid} was forked from one that runs the channel layer {alias!r}, "
                        "which reaches only that one: what this process sends reaches nobody",
                        pid=os.getpid(),
                        alias=self.alias,
                    )
            return self._face

    def attach(self, face: IBlockingChannelLayer, spec: Any = None) -> None:
        """
        Use C{face} from now on: this process runs the layer itself.

        @param spec: what that layer was made from, where it is not the entry
            in the settings.  Processes that are forked from this one make
            theirs from it.
        """
        self._attached = True
        self._face = face
        if spec is not None:
            self._spec = spec

    def forked(self) -> None:
        """
        In a forked child: what runs the layer is in the parent.

        Unless the reactor has yet to run: then this child is the daemon that
        is going to.
        """
        self._lock = threading.RLock()
        if self._attached and _reactor_ran():
            self._attached = False
            self._was_attached = True
            self._face = None

    @property
    def routing(self) -> Any:
        """What the settings give as its routing."""
        return self.settings.routing

    @property
    def router(self) -> Router:
        """
        The compiled routing.

        @raise ImproperChannelLayers: the routing is wrong.
        """
        from chanserv.django.routing import Router

        with self._lock:
            if self._router is None:
                self._router = Router.for_layer(self.settings)
            return self._router

    @property
    def extensions(self) -> Collection[str]:
        """As on the blocking face."""
        return self.channel_layer.extensions

    def send(self, channel: str, message: Message, receipt: str | None = None) -> None:
        """As on the blocking face."""
        self.channel_layer.send(channel, message, receipt)

    def send_batch(self, operations: Sequence[Operation]) -> list[ChannelLayerError | None]:
        """As on the blocking face."""
        return self.channel_layer.send_batch(operations)

    def send_group(self, group: str, message: Message) -> None:
        """As on the blocking face."""
        self.channel_layer.send_group(group, message)

    def group_add(self, group: str, channel: str) -> None:
        """As on the blocking face."""
        self.channel_layer.group_add(group, channel)

    def group_discard(self, group: str, channel: str) -> None:
        """As on the blocking face."""
        self.channel_layer.group_discard(group, channel)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.channel_layer, name)

    def __repr__(self) -> str:
        return f"<ChannelLayerWrapper {self.alias!r}: {self.settings.backend}>"


def _reactor_ran() -> bool:
    """Whether a copy of a parent's reactor was running."""
    return bool(getattr(sys.modules.get("twisted.internet.reactor"), "running", False))


class ChannelLayers:
    """
    The wrappers of the site's channel layers, by alias.

    May be used from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._settings: dict[str, LayerSettings] | None = None
        self._wrappers: dict[str, ChannelLayerWrapper] = {}

    @property
    def configs(self) -> dict[str, LayerSettings]:
        """
        C{CHANNEL_LAYERS}, checked.

        @raise ImproperChannelLayers: the setting is wrong.
        """
        if self._settings is None:
            self._settings = read_settings()
        return self._settings

    def __getitem__(self, alias: str) -> ChannelLayerWrapper:
        wrapper = self._wrappers.get(alias)
        if wrapper is not None:
            return wrapper
        with self._lock:
            known = self.configs.get(alias)
            if known is None:
                raise ImproperChannelLayers(
                    f"there is no channel layer {alias!r}: CHANNEL_LAYERS has "
                    f"{', '.join(map(repr, self.configs)) or 'none'}"
                )
            return self._wrappers.setdefault(alias, ChannelLayerWrapper(known))

    def __contains__(self, alias: object) -> bool:
        return alias in self.configs

    def __iter__(self) -> Iterator[str]:
        return iter(self.configs)

    def attach(
        self, alias: str, face: IBlockingChannelLayer, spec: Any = None
    ) -> ChannelLayerWrapper:
        """
        Use C{face} for C{alias} from now on.

        @param spec: see L{ChannelLayerWrapper.attach}.
        @return: the wrapper that now stands on it.
        """
        wrapper = self[alias]
        wrapper.attach(face, spec)
        return wrapper

    def forked(self) -> None:
        """In a forked child: go on without what only the parent has."""
        self._lock = threading.RLock()
        for wrapper in self._wrappers.values():
            wrapper.forked()

    def forget(self) -> None:
        """Drop all that was read from the settings, for when they change."""
        with self._lock:
            self._settings = None
            self._wrappers = {}


channel_layers: Final = ChannelLayers()
"""The channel layers of this site."""

tell_after_fork(channel_layers)


def get_channel_layer(alias: str = DEFAULT_CHANNEL_LAYER) -> IBlockingChannelLayer:
    """
    The blocking face of one of the site's channel layers.

    Loads the site first, where nothing has yet.

    @raise ImproperChannelLayers: C{CHANNEL_LAYERS} is wrong, or has no C{alias}.
    """
    import django
    from django.apps import apps

    if not apps.ready:
        django.setup(set_prefix=False)
    return channel_layers[alias].channel_layer


def _forget_on_change(*, setting: str, **kwargs: Any) -> None:
    if setting == "CHANNEL_LAYERS":
        channel_layers.forget()


setting_changed.connect(_forget_on_change)
