"""
The signals of a worker, to which a site may connect receivers.

- C{consumer_started} and C{consumer_finished} frame each run of a consumer, in
  its thread.  C{sender} is the application's class, and C{environ} an empty dict
  (so that receivers of Django's C{request_started} can be connected here too).
  Where the consumer is a Django view, Django's own C{request_started} and
  C{request_finished} are sent as well.
- C{worker_ready} is sent once for each process whose application has loaded;
  C{layer} is the channel layer's wrapper.
"""

from __future__ import annotations

from django.dispatch import Signal

consumer_started = Signal()
consumer_finished = Signal()
worker_ready = Signal()
