"""
Worker processes: started, watched, replaced by newer ones, and ended in order.

L{Supervisor<chanserv.supervision.supervisor.Supervisor>} does it, in the process
that serves connections; L{Crew<chanserv.supervision.crew.Crew>} decides what is to
be done; L{chanserv.supervision.child_link} is what a worker process has of it.
"""
