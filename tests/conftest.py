"""What all tests share: how Hypothesis searches, and that Ctrl-C is heard."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# No deadlines: a test must not fail for running on a busy machine.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For a night: pytest --hypothesis-profile=thorough.
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=5000)
settings.load_profile("default")

# What a script starts in the background ignores SIGINT, and so would each server that
# the tests start from there, though some are ended by nothing else.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
