"""How far a channel layer reaches."""

from __future__ import annotations

from chanserv.interfaces import IChannelLayer


def within_process(layer: IChannelLayer) -> bool:
    """
    Whether C{layer} is this process's alone: nobody else reads it, and it ends
    with the process.

    A layer of that kind says so by an attribute C{within_process} that is true;
    one without it is taken to be shared, which is safe for both kinds.
    """
    return bool(getattr(layer, "within_process", False))
