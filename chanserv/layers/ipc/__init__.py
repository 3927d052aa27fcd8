"""
The channel layer between the processes of one machine.

- L{layer<chanserv.layers.ipc.layer>} is what its users see; L{seat} decides who
  hosts the hub, by the lock of a L{place}.
- L{hub} and L{hub_store} are the hub: rules without sockets.  L{host} listens.
- L{desk} and L{inbox} are a process's side: what it asks, and what comes to it.
- L{links}, L{stream}, L{frames} and L{wire} carry the one to the other.
"""

from chanserv.layers.ipc.layer import IPCChannelLayer

__all__ = ["IPCChannelLayer"]
