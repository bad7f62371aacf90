"""Tables as files: ROOT, Parquet and CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from djservice.core.formatting import finite
from djservice.exports.tables import Column, Contents, Table


def write_root(contents: Contents, path: Path) -> None:
    """Write a tree for each table into one ROOT file, and units and meaning as a JSON text.

    Names and types of run, luminosityBlock and event are those of NanoAOD. Texts go into the JSON
    text ``description``, as trees have numbers.
    """
    import uproot

    with uproot.recreate(path) as file:
        for name, table in contents.tables.items():
            columns = {
                key: _root_values(key, column)
                for key, column in table.items()
                if not _is_text(column)
            }
            tree = file.mktree(name, {key: _root_type(values) for key, values in columns.items()})
            if len(next(iter(columns.values()))):
                tree.extend(columns)
        file["description"] = json.dumps(description(contents))


def write_parquet(contents: Contents, folder: Path) -> None:
    """Write a Parquet file for each table, with units and meaning in the metadata of its columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    for name, table in contents.tables.items():
        arrays, fields = [], []
        for key, column in table.items():
            array = _arrow(column.values)
            meaning = {"units": column.units, "long_name": column.long_name}
            arrays.append(array)
            fields.append(pa.field(key, array.type, metadata=meaning))
        pq.write_table(pa.table(arrays, schema=pa.schema(fields)), folder / f"{name}.parquet")
    _describe(contents, folder)


def write_csv(contents: Contents, folder: Path) -> None:
    """Write a CSV file for each table; lists get a table of their own, with a row for each member."""
    folder.mkdir()
    for name, table in contents.tables.items():
        flat = {key: column for key, column in table.items() if not is_list(column)}
        _write_rows(folder / f"{name}.csv", flat)
        lists = {key: column for key, column in table.items() if is_list(column)}
        if lists:
            _write_rows(folder / "jets.csv", _exploded(table, lists))
    _describe(contents, folder)


#: What writes each format.
FORMATS: dict[str, Callable[[Contents, Path], None]] = {
    "root": write_root,
    "parquet": write_parquet,
    "csv": write_csv,
}


def description(contents: Contents) -> dict[str, Any]:
    """Units and meaning of all columns, the input files, and the run."""
    columns = {
        name: {
            key: {"units": column.units, "long_name": column.long_name}
            for key, column in table.items()
        }
        for name, table in contents.tables.items()
    }
    facts = {
        name: contents.facts[name]
        for name in ("status", "run", "facts", "result", "versions", "observable", "inputs")
        if name in contents.facts
    }
    plain: dict[str, Any] = finite({"columns": columns, **facts})
    return plain


def is_list(column: Column) -> bool:
    """Whether a column has a list in each row."""
    return not isinstance(column.values, np.ndarray)


def _describe(contents: Contents, folder: Path) -> None:
    (folder / "description.json").write_text(json.dumps(description(contents), indent=1) + "\n")


def _is_text(column: Column) -> bool:
    return not is_list(column) and column.values.dtype.kind == "U"


def _root_values(name: str, column: Column) -> Any:
    """Values as NanoAOD has them, where they fit."""
    if name in ("run", "luminosityBlock"):
        values = column.values
        if len(values) == 0 or (values.min() >= 0 and values.max() < 2**32):
            return values.astype(np.uint32)
    return column.values


def _root_type(values: Any) -> Any:
    return values.dtype if isinstance(values, np.ndarray) else "var * float64"


def _arrow(values: Any) -> Any:
    import awkward as ak
    import pyarrow as pa

    if isinstance(values, np.ndarray):
        return pa.array(values)
    return ak.to_arrow(values, extensionarray=False)


def _exploded(table: Table, lists: Table) -> Table:
    """Lists with one row for each member, beside the identity of the event."""
    import awkward as ak

    number = ak.to_numpy(ak.num(next(iter(lists.values())).values))
    identity = {
        name: Column(np.repeat(table[name].values, number))
        for name in ("run", "luminosityBlock", "event", "file", "entry")
    }
    place = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    identity["place"] = Column(place)
    return identity | {
        name: Column(ak.to_numpy(ak.flatten(column.values))) for name, column in lists.items()
    }


def _write_rows(path: Path, table: Table) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*(column.values.tolist() for column in table.values()), strict=True))
