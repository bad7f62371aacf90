"""``djservice check``: a configuration before it is run, or every byte of a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from djservice.cli.echo import echo
from djservice.cli.failures import clear_failures

if TYPE_CHECKING:
    from djservice.config.jets import JetsDocument


@click.command()
@click.argument("target", metavar="CONFIG|STORE")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Change one key of CONFIG. Repeatable.",
)
@clear_failures
def check(target: str, overrides: tuple[str, ...]) -> None:
    """Look at CONFIG without running it, or verify every byte of STORE.

    CONFIG is the YAML file of a run, of distances, of shapes, of a reprocessing, or of jets for
    `lund`. Its files are opened, and the first events are read and clustered. The command prints
    files, branches, entries, and
    estimates of memory and time. Nothing is written, and no cluster is started.

    STORE is what `run`, `scan`, `compare`, `emd`, `shapes` or `reprocess` wrote: the folder or URL of a store, a
    result such as FOLDER/latest, or the folder of input.cache. It is compared with the checksums
    that were written with it, and not changed. The same command that wrote a store computes what is
    damaged again.

    \b
    Exit codes:
      0  the run can start, or everything is as it was written
      1  a file cannot be used, or something is damaged; each file is named
      2  invalid CONFIG

    \b
    Examples:
      djservice check my_run.yaml
      djservice check zh_global_radius.zarr
      djservice check results/latest
    """
    if Path(target).suffix in (".yaml", ".yml") or Path(target).is_file():
        for line in _looked_at(target, overrides):
            echo(line)
        return
    if overrides:
        raise click.UsageError("--set changes a key of CONFIG, found a store.")
    echo(_verified(target))


def _looked_at(config: str, overrides: tuple[str, ...]) -> Iterator[str]:
    """The lines about a configuration, whose kind is told by its keys."""
    from djservice.config.distances import Distances
    from djservice.config.run import Run
    from djservice.config.shapes import Shapes
    from djservice.core.plain_data import read_yaml
    from djservice.input.plan import plan_input
    from djservice.runs.dry_run import dry_input, dry_run
    from djservice.runs.shapes import built_shape

    data = read_yaml(config, Run.start)
    keys = set(data) if isinstance(data, dict) else set()
    changed = keys | {override.partition(".")[0] for override in overrides}
    if "jets" in keys and not changed & {"distance", "shape", "output"}:
        from djservice.config.lund import LundSample

        sample = LundSample.from_yaml(config, overrides)
        yield "sample of jets for djservice lund"
        plan = plan_input(sample.input, quarks=sample.jets.prongs == "quarks")
        yield from dry_input(plan, sample.input)
    elif keys & {"distance", "jets", "shape"}:
        document: JetsDocument
        if "shape" in keys:
            document = Shapes.from_yaml(config, overrides)
            built_shape(document)
        else:
            document = Distances.from_yaml(config, overrides)
        yield from dry_input(plan_input(document.input), document.input)
        yield f"store: {document.output.store}"
    elif isinstance(data, dict) and isinstance(data.get("run"), str):
        from djservice.reprocessing.config import Reprocessing

        settings = Reprocessing.from_yaml(config)
        yield f"the run that is fitted: {settings.run}"
        yield from dry_run(settings.read_run(overrides))
        if settings.apply is not None:
            yield from dry_input(plan_input(settings.apply), settings.apply, "apply")
        yield f"results: {settings.folder}"
    else:
        yield from dry_run(Run.from_yaml(config, overrides))


def _verified(store: str) -> str:
    from djservice.input.cache import verify_cache
    from djservice.reprocessing.results import verify_result
    from djservice.store.verify import verify_store

    folder = Path(store)
    if (folder / "manifest.json").exists() or (folder / "fit.zarr").is_symlink():
        return f"{store}: whole: {verify_result(folder)} stores"
    if list(folder.glob("*.zarr.zip")):
        return f"{store}: whole: {verify_cache(folder)} files"
    return f"{store}: whole: {verify_store(store)} arrays"


COMMANDS = (check,)
