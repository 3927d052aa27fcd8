"""
Workers that read some of a site's channels, and leave the others to other workers.

So what takes long, such as C{thumbnails.*}, may have workers of its own, and never
takes a thread from those that answer requests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from chanserv.core.patterns import NamePatterns
from chanserv.errors import ConfigurationError
from chanserv.interfaces import IApplication

if TYPE_CHECKING:
    from chanserv.worker.outbox import Outbox

ONLY: Final = "--only-channels"
EXCLUDE: Final = "--exclude-channels"


def chosen_channels(
    channels: Collection[str], only: Sequence[str] = (), exclude: Sequence[str] = ()
) -> frozenset[str]:
    """
    The names of those channels that are to be read.

    A glob that matches none of them is refused, since it is most likely mistyped:
    let pass, it would leave a channel to nobody, or have it read where it must
    not be, and nobody would be told.

    @param channels: the names of all channels of a site.
    @param only: globs of those to read; empty for all.
    @param exclude: globs of those not to read, even where C{only} has them.
    @raise ConfigurationError: a glob matches nothing, or nothing is left.
    """
    for option, globs in ((ONLY, only), (EXCLUDE, exclude)):
        for one in globs:
            if not any(name in NamePatterns(option, [one]) for name in channels):
                raise ConfigurationError(
                    f"{option}={one} matches none of the site's channels, which are "
                    f"{_listed(channels)}: correct it, or add a route"
                )
    wanted, unwanted = NamePatterns(ONLY, only), NamePatterns(EXCLUDE, exclude)
    chosen = frozenset(
        name for name in channels if (not wanted or name in wanted) and name not in unwanted
    )
    if not chosen and (only or exclude):
        given = " ".join(
            [*(f"{ONLY}={one}" for one in only), *(f"{EXCLUDE}={one}" for one in exclude)]
        )
        raise ConfigurationError(
            f"{given} leaves none of the site's channels to read, which are "
            f"{_listed(channels)}: exclude fewer"
        )
    return chosen


@implementer(IApplication)
class SomeChannels:
    """An application, of which only the consumers of some channels are run."""

    def __init__(self, application: IApplication, channels: Collection[str]) -> None:
        """
        @param channels: the names of the channels to read.
        """
        self._application = application
        self._channels = frozenset(channels)

    def channel_names(self) -> frozenset[str]:
        """See L{IApplication.channel_names}."""
        return self._channels

    def ignored_channels(self) -> frozenset[str]:
        """See L{IApplication.ignored_channels}."""
        return self._application.ignored_channels() & self._channels

    def run(self, channel: str, message: dict[str, object], outbox: Outbox) -> None:
        """See L{IApplication.run}."""
        self._application.run(channel, message, outbox)


def narrowed(
    application: IApplication, only: Sequence[str], exclude: Sequence[str]
) -> IApplication:
    """
    C{application}, or where some of its channels are not to be read, what leaves
    these out.

    @raise ConfigurationError: see L{chosen_channels}.
    """
    if not only and not exclude:
        return application
    return SomeChannels(application, chosen_channels(application.channel_names(), only, exclude))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
