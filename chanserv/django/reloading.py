"""
Watching the files of a site, in a worker process that is to be replaced when one
of them changes.

What is watched, and how, is Django's own: the modules that are loaded, and what
C{autoreload_started} adds to them (translations, templates, and whatever a site's
apps do there); C{file_changed} may say that a change needs no new process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.utils.autoreload import StatReloader, autoreload_started, file_changed, logger
from twisted.logger import Logger

Changed = Callable[[str, float], object]
"""Called with the path of a file that has changed, and when it did so last, in
seconds since 1970.  On a thread of its own."""

_log: Final = Logger(namespace="chanserv.django")


class Watch(StatReloader):
    """Tells of changed files, where Django's own would end the process."""

    def __init__(self, changed: Changed) -> None:
        super().__init__()
        self._changed = changed
        self._looked = threading.Event()

    def begin(self, error: BaseException | None = None) -> None:
        """
        Watch, from now until the process ends.

        To be called when the site has been loaded, or has failed to.  Returns when
        all files have been looked at once: what changes from then on is noticed.

        @param error: why it could not be loaded.  All files that this has come
            through are watched too, which are no modules then.
        """
        if error is not None:
            self.extra_files.update(files_of(error))
        threading.Thread(target=self._work, name="chanserv-reload", daemon=True).start()
        self._looked.wait()

    def _work(self) -> None:
        try:
            # Those who are told look through the apps.
            if apps.ready:
                autoreload_started.send_robust(sender=self)
            self.run_loop()
        except Exception:
            _log.failure("Files are watched no more: start anew")
        finally:
            self._looked.set()

    def snapshot_files(self) -> Iterator[tuple[Path, float]]:
        """Look at all files."""
        yield from super().snapshot_files()
        self._looked.set()

    def notify_file_changed(self, path: Any) -> None:
        """Tell of a change, unless one of the site's receivers has dealt with it."""
        results = file_changed.send_robust(sender=self, file_path=path)
        if any(result and not isinstance(result, Exception) for _, result in results):
            return
        logger.info("%s changed, reloading.", path)
        self._changed(str(path), _time_of(path))


def files_of(error: BaseException) -> Iterator[Path]:
    """
    List the files that C{error}, and what it came from, has gone through, and the
    one where the syntax is wrong.
    """
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        if isinstance(following, SyntaxError) and following.filename:
            yield Path(following.filename)
        trace = following.__traceback__
        while trace is not None:
            name = trace.tb_frame.f_code.co_filename
            if not name.startswith("<"):
                yield Path(name).absolute()
            trace = trace.tb_next
        following = following.__cause__ or following.__context__


def _time_of(path: Any) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
