"""The format of a file, by the ending of its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from djservice.core.urls import basename
from djservice.errors import InputError
from djservice.input.hepmc_file import opened_hepmc
from djservice.input.open_file import OpenFile
from djservice.input.parquet_file import opened_parquet
from djservice.input.root_file import opened_root
from djservice.input.schemas import Schema

#: A file by its path, schema and name in messages.
Opener = Callable[[str, Schema, str], AbstractContextManager[OpenFile]]

_HEPMC = ("hepmc", "hepmc2", "hepmc3")
#: Endings that HepMC files of several packings have.
_PACKED = ("", ".gz", ".bz2", ".xz", ".zst")
_PARQUET = (".parquet", ".parq", ".pq")
#: Formats by the endings of their names. Every other file is one of ROOT.
ENDINGS: dict[tuple[str, ...], Opener] = {
    _PARQUET: opened_parquet,
    tuple(f".{name}{packed}" for name in _HEPMC for packed in _PACKED): opened_hepmc,
}


def opener_of(path: str) -> Opener:
    """The reader of a file."""
    name = basename(path).lower()
    readers = (reader for endings, reader in ENDINGS.items() if name.endswith(endings))
    return next(readers, opened_root)


def check_format(path: str, stated: str | None) -> None:
    """Refuse a file whose format is stated to be another one than its name says.

    Raises
    ------
    InputError
        If it is; the message says which endings there are.
    """
    expected = {"root": opened_root, "parquet": opened_parquet}
    if stated in expected and opener_of(path) is not expected[stated]:
        raise InputError(
            f"{path}: the format is stated as {stated}, and the name is that of another one. The "
            f"format is that of the name: {_PARQUET[0]} for Parquet, .hepmc for HepMC, any other "
            "one for ROOT. Rename the file, or correct the fileset."
        )


@contextmanager
def opened(path: str, schema: Schema, place: str) -> Iterator[OpenFile]:
    """The events of a file, which is complete as far as its format says.

    Parameters
    ----------
    path, place
        Path or URL of the file, and its name in messages.
    schema
        The tree, and the branches that follow from the format.

    Raises
    ------
    MissingFileError, InputFileError, SchemaError
        If the file is missing, damaged or lacks the tree.
    """
    with opener_of(path)(path, schema, place) as file:
        yield file
