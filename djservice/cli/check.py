"""``djservice check``: every byte of a store against its checksums."""

from __future__ import annotations

from pathlib import Path

import click

from djservice.cli.failures import clear_failures


@click.command()
@click.argument("store")
@clear_failures
def check(store: str) -> None:
    """Verify every byte of STORE against the checksums that were written with it.

    STORE is what `run`, `scan`, `compare`, `emd` or `reprocess` wrote: the folder or URL of a store, a
    result such as FOLDER/latest, or the folder of input.cache. Nothing is changed. The same command
    that wrote a store computes what is damaged again.

    \b
    Exit codes:
      0  everything is as it was written
      1  something is damaged; each file is named

    \b
    Examples:
      djservice check zh_global_radius.zarr
      djservice check results/latest
    """
    from djservice.input.cache import verify_cache
    from djservice.reprocessing.results import verify_result
    from djservice.store.verify import verify_store

    folder = Path(store)
    if (folder / "manifest.json").exists() or (folder / "fit.zarr").is_symlink():
        click.echo(f"{store}: whole: {verify_result(folder)} stores")
    elif list(folder.glob("*.zarr.zip")):
        click.echo(f"{store}: whole: {verify_cache(folder)} files")
    else:
        click.echo(f"{store}: whole: {verify_store(store)} arrays")


COMMANDS = (check,)
