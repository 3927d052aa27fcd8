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


def keeps_a_roll(layer: IChannelLayer) -> bool:
    """
    Whether a group of C{layer} can tell who is there: others read it, and a
    membership ends soon after the process of its member.

    Layers of the old kind have no such end, and each mailbox that is waited for
    costs a thread there.  A layer of that kind says so by an attribute
    C{memberships_end} that is false.
    """
    return (
        not within_process(layer)
        and "groups" in layer.extensions
        and bool(getattr(layer, "memberships_end", True))
    )
