"""Log records of a process without secrets and without control characters."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from djservice.core.redact import redacted
from djservice.core.visible import visible


class _Factory:
    """Factory of log records whose texts are cleaned before any handler sees them."""

    def __init__(self, before: Callable[..., logging.LogRecord]) -> None:
        self.before = before

    def __call__(self, *arguments: Any, **keywords: Any) -> logging.LogRecord:
        record = self.before(*arguments, **keywords)
        try:
            message = record.getMessage()
        except Exception:  # a wrong call of logging, which its handler reports
            return record
        # Our own messages are lines; others' have lines, as of tracebacks.
        keep = "" if record.name.startswith("djservice") else "\n\t"
        clean = visible(redacted(message), keep)
        if clean != message:  # else the arguments stay, which some handlers read
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[0] is not None:
            lines = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            clean = visible(redacted(lines), keep="\n\t")
            if clean != lines:
                record.exc_info, record.exc_text = None, clean
        return record


def clean_records() -> None:
    """Clean all log records of this process from now on."""
    before = logging.getLogRecordFactory()
    if not isinstance(before, _Factory):
        logging.setLogRecordFactory(_Factory(before))
