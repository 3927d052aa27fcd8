"""
Whether this process can serve now, for those who send it work: load balancers,
container platforms, a person with C{curl}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, succeed

from chanserv.ops.pulse import Pulse
from chanserv.worker.status import WorkerState, WorkerStatus


class Readiness:
    """
    Finds what keeps this process from serving.
    """

    def __init__(
        self,
        pulse: Pulse,
        serving: Callable[[], bool],
        workers: Callable[[], Sequence[WorkerStatus]],
        present: Callable[[], bool | None],
    ) -> None:
        """
        @param serving: whether this process has started, and not begun to stop.
        @param workers: the workers of this process.
        @param present: whether any process has workers, as far as this one sees; L{None}
            where it cannot tell.
        """
        self._pulse = pulse
        self._serving = serving
        self._workers = workers
        self._present = present

    def reasons(self) -> Deferred[list[str]]:
        """
        List, in a line each, what keeps this process from serving.

        @return: fires with them, soon, whatever the layer does; with none where it
            can serve.
        """
        if not self._serving():
            return succeed(["this process is starting or stopping"])
        return self._pulse.check().addCallback(self._all)

    def _all(self, problem: str) -> list[str]:
        reasons = [problem] if problem else []
        workers = self._workers()
        if any(worker.state is WorkerState.RUNNING for worker in workers) or self._present():
            return reasons
        if workers:
            states = ", ".join(sorted({worker.state.value for worker in workers}))
            reasons.append(f"no worker runs: those of this process are {states}")
        elif self._present() is False:
            reasons.append("no worker runs anywhere on this channel layer")
        return reasons
