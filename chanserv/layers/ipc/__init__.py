"""
The channel layer between the processes of one machine.

- L{layer<chanserv.layers.ipc.layer>} is what its users see; L{seat} decides who
  hosts the hub, by the lock of a L{place}.
- L{hub} is the hub, with L{sessions}, L{owners}, L{store_operations} and
  L{hub_store}: rules without sockets.  L{host} listens.
- L{desk}, L{sending} and L{inbox} are a process's side: what it asks and sends, and
  what comes to it.
- L{links}, that is L{local_link} and L{remote_link}, L{stream}, L{frames} and
  L{wire} carry the one to the other.
"""

from chanserv.layers.ipc.layer import IPCChannelLayer

__all__ = ["IPCChannelLayer"]
