"""
What a channel layer carries, and what a group costs on it.

Run C{python -m benchmarks.layers}.  Real processes talk to each other over each layer:

- one that sends, and reads nothing (L{chanserv_process});
- up to sixteen that read, each its own mailbox;
- one that does nothing but come first: over IPC it is the host, so that neither side
  of what is measured has the store within its own process.

This process starts them, tells them what to do, line by line (L{processes}), and
never stands in the way of what is measured: times are taken where a message is sent
and where it comes out, by the one clock of the machine.
"""
