"""
The interface server: HTTP and WebSocket clients on one side, a channel layer
on the other.

Bytes become messages and back in L{requests}, L{responses} and L{handshake},
which are pure; L{http} and L{websocket} are the protocols.  Between them and
the layer stand, for each request, an L{exchange} with its L{answer}, and for
each WebSocket a L{session} with the L{stream} of its events.  All that they have
to say goes through the L{outlet}, where it waits while L{attendance} knows of no
worker.  L{context} is what all share, L{server} the service that owns it, and
L{draining} how that ends.
"""

from chanserv.server.counts import Counts
from chanserv.server.limits import Limits
from chanserv.server.server import InterfaceServer

__all__ = ["Counts", "InterfaceServer", "Limits"]
