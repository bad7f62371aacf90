"""``djservice init`` and ``schema``: configurations to start from, and their JSON schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from djservice.cli.echo import echo
from djservice.cli.failures import clear_failures

if TYPE_CHECKING:
    from pydantic import BaseModel

Option = Callable[[Callable[..., None]], Callable[..., None]]

#: Kinds of configurations, which are the commands that read them.
KINDS = ("run", "emd", "shapes", "reprocess")


def model_of(kind: str) -> type[BaseModel]:
    """The model of a kind of configuration."""
    if kind == "run":
        from djservice.config.run import Run

        return Run
    if kind == "emd":
        from djservice.config.distances import Distances

        return Distances
    if kind == "shapes":
        from djservice.config.shapes import Shapes

        return Shapes
    from djservice.reprocessing.config import Reprocessing

    return Reprocessing


def _kind_option(text: str) -> Option:
    return click.option(
        "--for", "kind", type=click.Choice(KINDS), default="run", show_default=True, help=text
    )


@click.command()
@click.argument("path", type=click.Path(dir_okay=False), required=False)
@_kind_option("Command that reads the configuration.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@clear_failures
def init(path: str | None, kind: str, force: bool) -> None:
    """Write a commented configuration to start from.

    PATH is the YAML file to write: run.yaml, or that of the other kind, by default. The
    configuration works without changes, on example events that are part of djservice. That of a
    reprocessing fits the run in run.yaml.

    \b
    Examples:
      djservice init my_run.yaml
      djservice init nightly.yaml --for reprocess
    """
    from djservice.config.template import write_template

    path = path or f"{kind}.yaml"
    write_template(path, model_of(kind), kind, force)
    echo(f"wrote {path}; use it with: djservice {kind} {path}")
    if kind == "reprocess":
        echo("it fits the run in run.yaml; write that one with: djservice init run.yaml")


@click.command()
@click.argument("path", type=click.Path(dir_okay=False), required=False)
@_kind_option("Command that reads the configuration.")
@clear_failures
def schema(path: str | None, kind: str) -> None:
    """Write the JSON schema of a configuration, for completion and checks in an editor.

    PATH is the file to write, djservice-run.schema.json by default; "-" prints it. The first line
    of what `djservice init` writes names this file, so put it beside the configuration. No network
    is needed.

    \b
    Examples:
      djservice schema djservice-run.schema.json
      djservice schema --for emd -
    """
    import json
    from pathlib import Path

    from djservice.config.kinds import json_schema, schema_file
    from djservice.core.atomic import write_text
    from djservice.core.regular import in_the_way
    from djservice.errors import ConfigError

    text = json.dumps(json_schema(model_of(kind)), indent=1)
    path = path or schema_file(kind)
    if path == "-":
        click.echo(text)
        return
    if other := in_the_way(path, text[:30].encode().lower()):
        raise ConfigError(f"{path}: expected no file or a schema, found {other}. Choose another.")
    try:
        write_text(Path(path), text + "\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}.") from None
    echo(f"wrote {path}")


COMMANDS = (init, schema)
