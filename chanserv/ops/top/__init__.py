"""
C{python -m chanserv top}: a running system in a terminal, refreshed each second.

What is known passes through here in one direction::

    asker     asks the processes and the layer     -> Sample
    tallies   adds up what changes between samples -> Tallies
    tables    rows of figures from both            -> View
    page      as many of them as a screen holds    -> lines
    terminal  shows them, and hears keys

Only the first and the last touch anything outside; L{chanserv.ops.top.command} puts
them together.
"""
