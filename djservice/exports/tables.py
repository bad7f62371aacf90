"""The numbers of a store as tables: columns of equal length, with units and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.store.checked import CheckedGroup


@dataclass(frozen=True)
class Column:
    """Values with their units and meaning.

    Attributes
    ----------
    values
        Shape (row,): numbers or texts; or an awkward array with a list of numbers in each row.
    units, long_name
        Units, "1" without any, and what the numbers are.
    """

    values: Any
    units: str = "1"
    long_name: str = ""


Table = dict[str, Column]


@dataclass
class Contents:
    """What is exported of a store.

    Attributes
    ----------
    tables
        Tables by name. ``events`` or ``jets`` come first, if there is one.
    facts
        The attributes of the store.
    """

    tables: dict[str, Table]
    facts: Mapping[str, Any] = field(repr=False)


def columns_of(group: CheckedGroup, rows: int | None = None) -> Table:
    """The arrays of a group that have one dimension, up to a number of rows."""
    table: Table = {}
    for name in group.attributes["arrays"]:
        if len(group.metadata(name)["shape"]) == 1:
            table[name] = described(group, name, group.rows(name)[:rows])
    return table


def described(group: CheckedGroup, name: str, values: NDArray[Any]) -> Column:
    """Values with the units and the meaning that an array of a group has."""
    meaning = group.metadata(name)["attributes"]
    return Column(values, meaning["units"], meaning["long_name"])


def files_table(inputs: list[dict[str, Any]]) -> Table:
    """The input files by the number that events name them with."""
    return {
        "file": Column(np.arange(len(inputs), dtype=np.int32), "1", "number of the file"),
        "path": Column(np.array([str(each["path"]) for each in inputs]), "1", "path or URL"),
    }
