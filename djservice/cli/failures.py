"""How a command of the command line ends when something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from djservice.errors import ConfigError, DjserviceError

Command = Callable[..., None]

#: Exit code of a result that is finished, without the inputs that could not be read.
INCOMPLETE = 3


def clear_failures(command: Command) -> Command:
    """Errors of djservice as one line: exit code 2 for a wrong configuration, 1 for anything else."""

    @wraps(command)
    def wrapped(*args: Any, **keywords: Any) -> None:
        try:
            command(*args, **keywords)
        except DjserviceError as error:
            from djservice.core.redact import redacted

            click.echo(f"djservice: {type(error).__name__}: {redacted(str(error))}", err=True)
            sys.exit(2 if isinstance(error, ConfigError) else 1)
        except KeyboardInterrupt:
            click.echo("djservice: stopped; the same command goes on from there.", err=True)
            sys.exit(1)

    return wrapped
