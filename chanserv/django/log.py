"""
Python's C{logging} in a site that chanserv runs: which request a line belongs to, and the
way into the server's own log.

In C{settings.py}::

    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": "chanserv.django.log.RequestIdFilter"}},
        "handlers": {
            "server": {"class": "chanserv.django.log.ServerLog", "filters": ["request_id"]},
        },
        "root": {"handlers": ["server"], "level": "INFO"},
    }
"""

from __future__ import annotations

import logging
from typing import Any, Final

from twisted.logger import Logger, LogLevel

from chanserv.django.gathering import current_message
from chanserv.worker.origin import request_id_of

__all__ = ["RequestIdFilter", "ServerLog", "request_id"]

NO_REQUEST: Final = "-"
"""What stands for the id in a line that belongs to no request."""


def request_id() -> str:
    """
    The id of the request or socket whose consumer or view runs in this context: the
    client's or proxy's C{X-Request-ID}, or the interface server's own.

    @return: the id; nothing outside of a consumer, or where its message has none.
    """
    message = current_message()
    return "" if message is None else request_id_of(message)


class RequestIdFilter(logging.Filter):
    """
    Lets every record through, with C{request_id}, for formats such as
    C{"%(levelname)s %(request_id)s %(message)s"}; C{-} where there is none.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add it, unless the record has one."""
        if not hasattr(record, "request_id"):
            record.request_id = request_id() or NO_REQUEST
        return True


class ServerLog(logging.Handler):
    """
    Puts records into the log of C{twistd chanserv}, in its format, text or JSON, with
    the id of the request; those of a supervised worker into its supervisor's.

    What a site writes to the console instead is lost with a daemon, and has neither the
    server's format nor its fields.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record."""
        try:
            text, traceback = self.format(record), record.exc_text or ""
            fields: dict[str, Any] = {"text": text.removesuffix(f"\n{traceback}")}
            form = "{text}"
            found = getattr(record, "request_id", NO_REQUEST)
            found = request_id() if found == NO_REQUEST else str(found)
            if found:
                fields["request_id"] = found
                if found not in text:
                    form += " (request {request_id})"
            if traceback:
                fields["traceback"] = traceback
                form += "\n{traceback}"
            Logger(namespace=record.name).emit(_level(record.levelno), form, **fields)
        except Exception:
            self.handleError(record)


def _level(number: int) -> Any:
    """Twisted's level for one of Python's."""
    for bound, level in _LEVELS:
        if number >= bound:
            return level
    return LogLevel.debug


_LEVELS: Final = (
    (logging.CRITICAL, LogLevel.critical),
    (logging.ERROR, LogLevel.error),
    (logging.WARNING, LogLevel.warn),
    (logging.INFO, LogLevel.info),
)
