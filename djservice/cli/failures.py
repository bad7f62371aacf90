"""Errors of a command as one line of text and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click

from djservice.cli.echo import echo
from djservice.cli.verbosity import print_traceback, verbosity_options
from djservice.core.visible import visible
from djservice.errors import ConfigError, DjserviceError

Command = Callable[..., None]

#: Exit code of a finished result from which bad inputs are left out.
INCOMPLETE = 3


def _of_surroundings(error: OSError) -> str:
    """What is wrong with the terminal or the folder of a command; empty if it is something else."""
    try:
        os.getcwd()
    except OSError:
        return "the working directory was removed. Change to another one."
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO):
        return f"the output cannot be written: {error.strerror}."
    if error.errno == errno.ENAMETOOLONG:
        return f"{error.filename}: {error.strerror}. Correct the path."
    return ""


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
            print_traceback(error)
            sys.exit(2 if isinstance(error, ConfigError) else 1)
        except OSError as error:
            if problem := _of_surroundings(error):
                echo(f"djservice: {problem}", err=True)
                sys.exit(1)
            raise
        except KeyboardInterrupt:
            without = " without --overwrite" if keywords.get("overwrite") else ""
            text = f"stopped by a signal; the same command{without} does what is left."
            echo(f"djservice: {text}", err=True)
            sys.exit(1)

    return _stopped_by_sigterm(wrapped)


def _stopped_by_sigterm(command: Command) -> Command:
    """A command that SIGTERM ends like Ctrl-C, also before it starts a cluster."""

    @wraps(command)
    def wrapped(*args: Any, **keywords: Any) -> None:
        try:
            before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        except ValueError:  # outside the main thread, signals belong to the caller
            command(*args, **keywords)
            return
        try:
            command(*args, **keywords)
        finally:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)

    return wrapped


class Commands(click.Group):
    """A group whose errors of usage and warnings are lines, with control characters escaped."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, which gets the options of how much it says."""
        cmd.params += verbosity_options()
        super().add_command(cmd, name)

    def make_context(self, *args: Any, **keywords: Any) -> click.Context:
        with _escaped():
            return super().make_context(*args, **keywords)

    def invoke(self, ctx: click.Context) -> Any:
        with _escaped(), warnings.catch_warnings():
            warnings.showwarning = _say  # type: ignore[assignment]
            return super().invoke(ctx)


def _say(message: Warning | str, *_place: Any) -> None:
    echo(f"djservice: warning: {' '.join(str(message).splitlines())}", err=True)


@contextmanager
def _escaped() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        error.message = visible(error.message) + _setting_like(error)  # type: ignore[misc]
        raise


def _setting_like(error: click.ClickException) -> str:
    """How to set the key of a run that an unknown option is called like; empty if there is none."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return ""
    if not any("--set" in parameter.opts for parameter in error.ctx.command.params):
        return ""
    from djservice.config.run import Run

    key = error.option_name.lstrip("-").partition("=")[0].replace("-", "_")
    sections = {name: field.annotation for name, field in Run.model_fields.items()}
    ways = [key] if key in sections else []
    ways += [name for name, of in sections.items() if key in getattr(of, "model_fields", ())]
    ways = [way if way == key else f"{way}.{key}" for way in ways]
    return f" Set a key of the run with --set {' or '.join(ways)}=VALUE." if ways else ""
