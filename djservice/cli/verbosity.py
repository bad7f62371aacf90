"""How much a command says: ``-q`` and ``-v``, which every command has."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from djservice.core.display import Lines, Terminal

_KEY = "djservice.verbosity"


def verbosity_options() -> list[click.Option]:
    """The options ``--quiet`` and ``--verbose``."""
    return [
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_keep,
            help="Print warnings and the result, and no progress.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=_keep,
            help="Print log lines of Dask too, and where in the code an error comes from.",
        ),
    ]


def _keep(context: click.Context, option: click.Parameter, chosen: bool) -> None:
    """Keep the option in the context of the command; log lines begin at once."""
    if not chosen:
        return
    if context.meta.setdefault(_KEY, option.name) != option.name:
        raise click.UsageError("expected one of -q and -v, found both.")
    if option.name == "verbose":
        import logging

        logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
        for name in ("djservice", "distributed"):
            logging.getLogger(name).setLevel(logging.INFO)


def progress_display() -> AbstractContextManager[Lines | Terminal]:
    """The display of progress that the command asks for, closed at the end."""
    from djservice.core.display import Quiet, choose_display

    return closing(Quiet() if _chosen() == "quiet" else choose_display())


def print_traceback(error: BaseException) -> None:
    """Print where an error comes from, if the command asks for it."""
    if _chosen() == "verbose":
        import traceback

        from djservice.core.redact import redacted

        click.echo(redacted("".join(traceback.format_exception(error))), err=True)


def _chosen() -> Any:
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(_KEY)
