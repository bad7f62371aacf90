"""Submissions: a run as plain data, which the scheduler validates when it arrives."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from djservice.config.input import Input
from djservice.config.python_file import names_file
from djservice.config.run import Run, as_run, files_of
from djservice.core.private import full_url, public, revealed
from djservice.core.redact import message_of
from djservice.core.urls import is_url
from djservice.errors import ConfigError
from djservice.input.fileset import load_fileset

#: Largest configuration in bytes. A larger one is refused before it is parsed.
LARGEST = 1_000_000
#: Deepest nesting of lists and mappings in a configuration.
DEEPEST = 30


def pack(run: Run | str | Path) -> dict[str, Any]:
    """A run as plain data whose paths are valid on the scheduler.

    Relative paths become absolute ones; URLs and ``example:`` names stay. The section ``cluster``
    is left out.

    Raises
    ------
    ConfigError
        If the run holds Python objects.
    """
    run = as_run(run)
    for where, term in run.terms.items():
        values = {f"{where}.observable": term.observable}
        values |= {f"{where}.cuts[{k}]": cut for k, cut in enumerate(term.cuts)}
        for key, value in values.items():
            _refuse_object(key, value)
    _refuse_object("estimator", run.estimator)
    for name in ("radius_model", "particle_weights"):
        section = getattr(run, name)
        _refuse_object(f"{name}.model", section.model)
        for i, feature in enumerate(section.features):
            _refuse_object(f"{name}.features[{i}]", feature)
    _refuse_object("joint.network", run.joint.network)
    data = run.to_dict()
    data.pop("cluster")
    data["input"] |= _packed_files(run.input)
    for name, section in data["radius_model"]["checks"].items():
        section |= _packed_files(run.radius_model.checks[name])
    terms = [*data["loss"], *filter(None, [data.get("objective")])]
    for term, plain in zip(run.terms.values(), terms, strict=True):
        for key, path in files_of(term.observable).items():
            plain["observable"][key] = _absolute(path)
    output = run.output.model_dump()
    data["output"] = {
        key: path if path is None else _absolute(path) for key, path in output.items()
    }
    packed: dict[str, Any] = revealed(data)  # the one message with the credentials of URLs
    return packed


def _packed_files(section: Input) -> dict[str, Any]:
    """The files that an input section names by absolute paths."""
    fileset = None
    # The scheduler gets the fileset itself, because its paths are relative to this folder.
    if section.fileset is not None:
        fileset = load_fileset(section.fileset)
        for dataset in fileset.values():
            dataset["files"] = {_absolute(path): file for path, file in dataset["files"].items()}
    weights = section.lund_weights
    return {
        "lund_weights": weights
        and {**weights.model_dump(mode="json"), "ratio": _absolute(weights.ratio)},
        "files": [_absolute(path) for path in section.files],
        "cache": None if section.cache is None else _absolute(section.cache),
        "fileset": fileset,
    }


def unpack(data: Any) -> Run:
    """The submitted run, from plain data.

    Raises
    ------
    ConfigError
        If the data are not plain, too large, not a valid run, or have relative paths.
    """
    try:
        size = len(json.dumps(data))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"submitted run: expected plain data (JSON): {message_of(error)}."
        ) from None
    if size > LARGEST:
        raise ConfigError(
            f"submitted run: expected at most {LARGEST:,} bytes, found {size:,}. "
            "Name its files by patterns such as data/*.root."
        )
    if _deeper(data, DEEPEST):
        raise ConfigError(
            f"submitted run: expected lists and mappings at most {DEEPEST} deep, found more."
        )
    if not isinstance(data, Mapping):
        raise ConfigError(
            f"submitted run: expected a mapping of sections, found {type(data).__name__}."
        )
    run = Run.from_dict(data, "submitted run")
    for where, term in run.terms.items():
        _refuse_object(f"{where}.observable", term.observable)
    if any(isinstance(section.fileset, str) for section in run.inputs.values()):
        raise ConfigError(
            "submitted run: expected the content of the fileset, found the name of its file. "
            "Submit with `djservice submit`."
        )
    caches = [section.cache for section in run.inputs.values() if section.cache is not None]
    of_observables = [path for _, path in run.observable_files]
    for path in (*_files(run), *of_observables, *caches, run.output.store):
        if _absolute(path) != path:
            raise ConfigError(
                f"submitted run: expected absolute paths, but {path} is a relative path. "
                "Submit with `djservice submit`, which makes paths absolute."
            )
    return run


def _deeper(data: Any, levels: int) -> bool:
    """True if plain data are nested deeper than so many levels."""
    layer = [data]
    for _ in range(levels + 1):
        layer = [
            item
            for value in layer
            if isinstance(value, (Mapping, list, tuple))
            for item in (value.values() if isinstance(value, Mapping) else value)
        ]
    return bool(layer)


def identity(run: Run) -> str:
    """Name of a run from its numbers and its store; two submissions of one run share it."""
    location = run.output.store if is_url(run.output.store) else os.path.realpath(run.output.store)
    name = (
        re.sub(r"[^A-Za-z0-9_]+", "-", Path(location).name.removesuffix(".zarr")).strip("-")[:40]
        or "run"
    )
    return f"{name}-{_digest([location, same_numbers(run)])}"


def same_numbers(run: Run) -> str:
    """Digest that two runs share if they would write the same numbers."""
    return _digest(
        [
            run.numbers,
            public(_files(run)),
            *([run.observable_files] if run.observable_files else []),
            [public(section.fileset) for section in run.inputs.values() if section.fileset],
            run.radius_model.iterations,
            run.particle_weights.iterations,
            run.joint.iterations,
            run.optimiser.iterations,
        ]
    )


def _files(run: Run) -> list[str]:
    paths = [path for section in run.inputs.values() for path in section.files]
    for section in run.inputs.values():
        if section.fileset is not None:
            paths += [
                path
                for dataset in load_fileset(section.fileset).values()
                for path in dataset["files"]
            ]
    return paths


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def _absolute(path: str) -> str:
    return (
        path
        if "://" in path or path.startswith("example:")
        else os.path.abspath(os.path.expanduser(full_url(path)))
    )


def _refuse_object(key: str, value: Any) -> None:
    if names_file(value):
        raise ConfigError(
            f"{key}: {value['name']} is a function in a file, which only a local run reads "
            "(djservice run): a scheduler runs no code that comes with a submission. Install it as "
            "an entry point of the group djservice.observables on the scheduler and the workers, "
            "and give its name."
        )
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{key} is a Python object, and a run on a scheduler is plain data. Install the object "
            "as an entry point on the scheduler and the workers and give its name, or use "
            "djservice.run."
        )
