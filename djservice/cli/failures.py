"""Errors of a command as one line of text and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from djservice.cli.echo import echo
from djservice.errors import ConfigError, DjserviceError

Command = Callable[..., None]

#: Exit code of a finished result from which bad inputs are left out.
INCOMPLETE = 3


def clear_failures(command: Command) -> Command:
    """Print errors of djservice as one line, and exit.

    The exit code is 2 for an invalid configuration and 1 for any other error.
    """

    @wraps(command)
    def wrapped(*args: Any, **keywords: Any) -> None:
        try:
            command(*args, **keywords)
        except DjserviceError as error:
            from djservice.core.redact import redacted

            text = " ".join(redacted(str(error)).splitlines())
            echo(f"djservice: {type(error).__name__}: {text}", err=True)
            sys.exit(2 if isinstance(error, ConfigError) else 1)
        except KeyboardInterrupt:
            without = " without --overwrite" if keywords.get("overwrite") else ""
            echo(f"djservice: stopped; the same command{without} continues.", err=True)
            sys.exit(1)

    return wrapped
