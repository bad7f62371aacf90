"""Files of Parquet, such as awkward writes, through pyarrow, by row groups."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from djservice.core.private import full_url
from djservice.errors import InputFileError
from djservice.input.file_damage import damage_explained
from djservice.input.open_file import OpenFile, field_of
from djservice.input.schemas import Schema

#: Bytes at the end of a file: the length of its footer, and "PAR1".
_END = 8


class ParquetFile(OpenFile):
    """The rows of an open Parquet file; its identifier is a hash of the footer, with the statistics.

    Attributes
    ----------
    parquet
        pyarrow's file.
    """

    def __init__(self, file: Any, parquet: Any, place: str) -> None:
        self.parquet, self._place = parquet, place
        self._groups = [
            parquet.metadata.row_group(i) for i in range(parquet.metadata.num_row_groups)
        ]
        self._starts = [0, *itertools.accumulate(group.num_rows for group in self._groups)]
        self.size, self.entries = file.seek(0, 2), int(parquet.metadata.num_rows)
        file.seek(self.size - _END)
        length = int.from_bytes(file.read(_END)[:4], "little")
        file.seek(self.size - _END - length)
        self.uuid = hashlib.sha256(file.read(length)).hexdigest()[:32]
        self._bytes_read = length + _END

    @cached_property
    def names(self) -> dict[str, int]:
        """All columns, and their numbers in the file."""
        import awkward as ak

        form = ak.from_arrow_schema(self.parquet.schema_arrow)
        return {name: number for number, name in enumerate(form.columns())}

    @property
    def bytes_read(self) -> int:
        return self._bytes_read

    def arrays(self, names: Collection[str], start: int, stop: int) -> dict[str, Any]:
        import awkward as ak

        numbers = [self.names[name] for name in names]
        groups = [
            i
            for i, (first, last) in enumerate(itertools.pairwise(self._starts))
            if first < stop and last > start
        ]
        paths = [self.parquet.schema.column(number).path for number in numbers]
        table = self.parquet.read_row_groups(groups, columns=paths, use_threads=False)
        table.validate(full=True)
        first = self._starts[groups[0]] if groups else 0
        expected = sum(self._groups[i].num_rows for i in groups)
        if len(table) != expected:
            raise InputFileError(
                f"{self._place}: expected {expected} rows in the row groups, found {len(table)}: "
                "the file is damaged. Copy it again, or remove it."
            )
        self._bytes_read += sum(
            self._groups[i].column(number).total_compressed_size
            for i in groups
            for number in numbers
        )
        rows = ak.from_arrow(table)[start - first : stop - first]
        columns = {name: rows[name] for name in rows.fields}
        return {name: field_of(columns, name) for name in names}

    def bounds(self, names: Collection[str] | None) -> Iterable[int]:
        return self._starts


@contextmanager
def opened_parquet(path: str, schema: Schema, place: str) -> Iterator[ParquetFile]:
    """The rows of a Parquet file; a schema names no tree in it."""
    with _damage(path, place):
        import fsspec
        import pyarrow.parquet

        with fsspec.open(full_url(path), "rb") as file:
            checked = pyarrow.parquet.ParquetFile(file, page_checksum_verification=True)
            yield ParquetFile(file, checked, place)


@contextmanager
def _damage(path: str, place: str) -> Iterator[None]:
    import pyarrow

    with damage_explained(path, place, "Parquet", (pyarrow.ArrowException,)):
        yield
