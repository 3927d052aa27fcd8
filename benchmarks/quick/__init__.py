"""
The short comparison: one small Django site on chanserv and on its peers.

C{python -m benchmarks.quick} starts each server in turn on one core, loads it
from another, and prints what it did beside what we want.  C{site} is the site,
C{servers} starts and weighs the servers, C{load} is the client and C{report}
the table.
"""
