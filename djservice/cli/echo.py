"""Lines on the terminal. They quote names of files, branches and users, which are escaped."""

from __future__ import annotations

import click

from djservice.core.visible import visible


def echo(*lines: str, err: bool = False) -> None:
    """Print each text as one line, on standard output or standard error."""
    for line in lines:
        click.echo(visible(line), err=err)
