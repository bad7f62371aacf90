"""A coffea fileset -> the files of each dataset, and the normalisation of its events."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from djservice.config.base import PathOrUrl, without_credentials
from djservice.config.explanations import explained
from djservice.config.input import Input
from djservice.core.plain_data import unique_pairs
from djservice.core.private import full_url, private_url
from djservice.core.redact import message_of
from djservice.core.regular import irregular
from djservice.core.urls import is_url
from djservice.errors import DjserviceError, InputError
from djservice.input.files import GLOB, Search, expand
from djservice.input.formats import check_format


@dataclass(frozen=True)
class Source:
    """A file that a run reads.

    Attributes
    ----------
    path
        Absolute path or URL.
    dataset
        Name of its dataset.
    tree
        Name of its tree; None for the schema's.
    steps
        Ranges of entries that are read; None for all.
    entries, uuid
        Expected entries and identifier; None if the fileset does not give them.
    """

    path: str
    dataset: str = ""
    tree: str | None = None
    steps: tuple[tuple[int, int], ...] | None = None
    entries: int | None = None
    uuid: str | None = None


class _File(BaseModel):
    """A file of coffea's DataGroupSpec."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    object_path: Annotated[str, Field(min_length=1)] | None = None
    steps: Annotated[list[tuple[int, int]], Field(min_length=1)] | None = None
    num_entries: int | None = None
    uuid: str | None = None
    num_selected_entries: int | None = None
    format: Literal["root", "parquet"] | None = None
    lfn: str | None = None
    pfn: str | None = None


def _as_mapping(dataset: Any) -> Any:
    """A dataset with its files as a mapping.

    coffea also takes a list of files, and one tree name for all files.
    """
    if not isinstance(dataset, Mapping):
        dataset = {"files": dataset}
    files, tree = dataset.get("files"), dataset.get("treename")
    if isinstance(files, list):
        parts = [_WITH_TREE.fullmatch(str(file)) for file in files]
        files = {
            part[1] if part else file: part[2] if part else None
            for file, part in zip(files, parts, strict=True)
        }
    if isinstance(files, Mapping):
        files = {
            path: file
            if isinstance(file, Mapping)
            else {"object_path": tree if file is None else file}
            for path, file in files.items()
        }
    return {key: value for key, value in dataset.items() if key != "treename"} | {"files": files}


#: ``file.root:tree``
_WITH_TREE = re.compile(r"(.+\.root):([^:]+)")


class _Dataset(BaseModel):
    """A dataset of coffea's DataGroupSpec."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    files: Annotated[dict[PathOrUrl, _File], Field(min_length=1)]
    metadata: dict[str, Any] = {}
    format: str | None = None
    compressed_form: str | None = None
    did: str | None = None
    preload: list[str] | None = None


#: Metadata of a dataset that change the weights of its events.
WEIGHTS = ("xsec", "sumw", "weight")
#: Longest description of an invalid dataset in a message, in characters.
_LONGEST = 500
#: Largest size of a fileset in bytes, uncompressed.
_LARGEST = 200_000_000


def load_fileset(fileset: str | Mapping[str, Any]) -> dict[str, Any]:
    """A fileset as plain data, checked.

    Parameters
    ----------
    fileset
        Path or URL of a JSON file, which may be compressed (.gz), or the fileset itself.

    Raises
    ------
    InputError
        If it cannot be read or is not a fileset. The message names the dataset and the file at
        fault.
    """
    where, data = "fileset", fileset
    if isinstance(fileset, str):
        where = private_url(fileset)
        data = _read_json(where)
    data = without_credentials(data)
    if not isinstance(data, Mapping) or not data:
        raise InputError(f"{where}: expected a mapping of datasets, found {type(data).__name__}.")
    datasets: dict[str, Any] = {}
    for name, dataset in data.items():
        datasets[str(name)] = _dataset(f"{where}: dataset {name!r}", dataset)
    without = [name for name, dataset in datasets.items() if "xsec" not in dataset["metadata"]]
    if 0 < len(without) < len(datasets):
        raise InputError(
            f"{where}: xsec is missing in the metadata of {', '.join(without)}, and given for "
            "others: give it for all "
            "datasets or for none."
        )
    return datasets


def _read_json(path: str) -> Any:
    """What a JSON file holds."""
    import fsspec

    try:
        if not is_url(path) and (other := irregular(path)):
            raise ValueError(other)
        with fsspec.open(full_url(path), "rb", compression="infer") as file:
            text = file.read(_LARGEST + 1)  # of what it is uncompressed
        if len(text) > _LARGEST:
            raise ValueError(f"more than {_LARGEST:,} bytes")
        return json.loads(text, object_pairs_hook=unique_pairs)
    except (OSError, ValueError, ImportError, RecursionError) as error:
        raise InputError(
            f"{path}: expected a fileset in JSON, found {type(error).__name__}: "
            f"{message_of(error)}."
        ) from None


def _dataset(where: str, dataset: Any) -> dict[str, Any]:
    """One dataset of a fileset, checked."""
    try:
        checked = _Dataset.model_validate(_as_mapping(dataset)).model_dump(exclude_none=True)
    except ValidationError as error:
        wrong = explained(error, _Dataset, "files")[:_LONGEST]
        raise InputError(
            f"{where}: {wrong}. Expected files as {{path: tree}}, or "
            "{path: {object_path: tree, steps, num_entries, uuid}}."
        ) from None
    for key in WEIGHTS:
        value = checked["metadata"].get(key, 1.0)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise InputError(f"{where}: metadata.{key} is {value!r}, expected a finite number.")
    return checked


def sources(
    section: Input, fileset: Mapping[str, Any] | None = None, search: Search = GLOB
) -> list[Source]:
    """The files that an input section names, in order.

    Parameters
    ----------
    section
        The input section of a run.
    fileset
        The fileset of the section, if it is already loaded.
    search
        Finds the files of a pattern.

    Raises
    ------
    DjserviceError
        If a file does not exist, or the fileset is invalid.
    """
    if section.fileset is None:
        return _distinct([Source(path, section.dataset) for path in expand(section.files, search)])
    files = []
    for name, dataset in (fileset or load_fileset(section.fileset)).items():
        try:
            paths = expand(list(dataset["files"]), search)
        except DjserviceError as error:
            raise type(error)(f"dataset {name!r}: {error}") from None
        if len(paths) != len(dataset["files"]):
            raise InputError(
                f"dataset {name!r}: a pattern stands for {len(paths)} files, expected the name of "
                "one."
            )
        for path, file in zip(paths, dataset["files"].values(), strict=True):
            check_format(path, file.get("format", dataset.get("format")))
            steps = (
                tuple((first, last) for first, last in file["steps"]) if "steps" in file else None
            )
            files.append(
                Source(
                    path,
                    name,
                    file.get("object_path"),
                    steps,
                    file.get("num_entries"),
                    file.get("uuid"),
                )
            )
    return _distinct(files)


def _distinct(files: list[Source]) -> list[Source]:
    """Files whose stored names differ: those of URLs are without their queries and users."""
    names: dict[str, str] = {}
    for file in files:
        if names.setdefault(str(file.path), file.path) != file.path:
            raise InputError(
                f"{file.path}: two URLs among the inputs differ only in their queries or users, "
                "which may be secret and are not stored. The store could not tell their events "
                "apart. Give the files different paths, or copy them."
            )
    return files


def normalisation(
    name: str, xsec: float | None, sumw: float | None, sum_of_weights: float
) -> float:
    """Factor on the weights of a dataset that sets its cross section; 1 without a cross section.

    Parameters
    ----------
    name
        Name of the dataset.
    xsec, sumw
        Cross section in the metadata, and the sum of weights that corresponds to it.
    sum_of_weights
        Sum of weights of the events that were read, used if ``sumw`` is None.

    Raises
    ------
    InputError
        If one of them is not positive.
    """
    if xsec is None:
        return 1.0
    total = sum_of_weights if sumw is None else sumw
    if not (math.isfinite(xsec) and xsec > 0 and math.isfinite(total) and total > 0):
        raise InputError(
            f"dataset {name!r}: expected a positive xsec and a positive sum of weights, found "
            f"{xsec} and {total}."
        )
    return float(xsec / total)
