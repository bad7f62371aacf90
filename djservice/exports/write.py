"""export(store, format): what a store holds, as files of another program."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from djservice.core.atomic import written_aside
from djservice.core.regular import in_the_way
from djservice.core.urls import beside_store
from djservice.errors import StoreError
from djservice.exports.contents import contents_of
from djservice.exports.files import FORMATS
from djservice.exports.hepdata import write_hepdata

_FORMATS = {**FORMATS, "hepdata": write_hepdata}


def export(
    store: str | Path, to: str, output: str | Path | None = None, jets: int = 0, force: bool = False
) -> Path:
    """Write what a store holds as files of another format, completely or not at all.

    Parameters
    ----------
    store
        Folder or URL of a store of any kind.
    to
        "root", which is one file; "parquet", "csv" or "hepdata", which are folders.
    output
        The file or folder to write. The default is the name of the store with ``.root``, or with
        ``.parquet`` and so on, beside it.
    jets
        Number of leading jets of each event to add. The files of the run are read for them.
    force
        Whether an existing file or folder is replaced.

    Returns
    -------
    Path
        The file or folder.

    Raises
    ------
    DjserviceError
        If there is no store, or nothing to export; if the output exists and ``force`` is False, or
        cannot be written.
    """
    write = _FORMATS[to]
    path = beside_store(store, f".{to}") if output is None else Path(output).expanduser()
    if path.exists() and not force:
        raise StoreError(
            f"{path}: exists already; choose another name with --output, or pass --force to "
            "replace it."
        )
    if path.is_file():
        _need_export(path)
    contents = contents_of(store, jets)
    try:
        with written_aside(path) as aside:
            write(contents, aside)
            if path.is_dir() and not path.is_symlink():
                _remove_export(path)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error.strerror or error}. Choose another file."
        ) from error
    return path


def _need_export(path: Path) -> None:
    """Refuse to replace a file that is no earlier export, such as one of events."""
    import uproot

    names: list[str] = []
    if not in_the_way(path, b"root"):
        with (
            contextlib.suppress(OSError, ValueError, IndexError, KeyError),
            uproot.open(path) as file,
        ):
            names = file.keys(recursive=False, cycle=False)
    if "description" not in names:
        raise StoreError(
            f"{path}: expected an earlier export, found another file. Choose another name with "
            "--output."
        )


def _remove_export(folder: Path) -> None:
    """Remove an earlier export, and nothing else."""
    if not any((folder / name).is_file() for name in ("description.json", "submission.yaml")):
        raise StoreError(
            f"{folder}: expected an earlier export, found another folder. Choose another name with "
            "--output."
        )
    shutil.rmtree(folder)
