"""What travels from a client to the scheduler: a run as plain data, checked by the strict model where it arrives."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from djservice.config.run import Run
from djservice.core.redact import redacted, redacted_data
from djservice.core.urls import is_url
from djservice.errors import ConfigError
from djservice.input.fileset import load_fileset

#: A configuration is never that large; what is larger is refused before it is looked at.
LARGEST = 1_000_000


def pack(run: Run) -> dict[str, Any]:
    """A run as plain data whose paths mean the same on the scheduler.

    Relative paths become absolute ones of this machine; URLs and ``example:`` names stay. Where it runs is left out.

    Raises
    ------
    ConfigError
        If it holds Python objects.
    """
    for i, term in enumerate(run.loss):
        places = {f"loss[{i}].observable": term.observable}
        places |= {f"loss[{i}].cuts[{k}]": cut for k, cut in enumerate(term.cuts)}
        for where, value in places.items():
            _refuse_object(where, value)
    _refuse_object("estimator", run.estimator)
    for i, feature in enumerate(run.radius_model.features):
        _refuse_object(f"radius_model.features[{i}]", feature)
    data = run.to_dict()
    data.pop("cluster")
    for section in (data["input"], *data["radius_model"]["checks"].values()):
        section["files"] = [_absolute(path) for path in section["files"]]
        section["cache"] = None if section["cache"] is None else _absolute(section["cache"])
        if (
            section["fileset"] is not None
        ):  # itself, for its paths are those of this machine and this folder
            section["fileset"] = load_fileset(section["fileset"])
            for dataset in section["fileset"].values():
                dataset["files"] = {
                    _absolute(path): file for path, file in dataset["files"].items()
                }
    output = data["output"]
    data["output"] = {
        key: path if path is None else _absolute(path) for key, path in output.items()
    }
    return data


def unpack(data: Any) -> Run:
    """The run that was submitted.

    Raises
    ------
    ConfigError
        If it is no plain data, too large, not a valid run, or has paths that mean nothing here.
    """
    try:
        size = len(json.dumps(data))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"a submitted run must be plain data: {error}.") from None
    if size > LARGEST:
        raise ConfigError(
            f"the submitted run has {size:,} bytes, at most {LARGEST:,} are taken. Use globs for its files."
        )
    if not isinstance(data, Mapping):
        raise ConfigError(
            f"a submitted run must be a mapping of sections, found {type(data).__name__}."
        )
    run = Run.from_dict(data, "submitted run")
    if any(isinstance(section.fileset, str) for section in run.inputs.values()):
        raise ConfigError("submitted run: expected the fileset itself, found the name of its file.")
    caches = [section.cache for section in run.inputs.values() if section.cache is not None]
    for path in (*_files(run), *caches, run.output.store):
        if _absolute(path) != path:
            raise ConfigError(
                f"submitted run: {path} is a relative path, which means nothing on the scheduler."
            )
    return run


def identity(run: Run) -> str:
    """A name of the run and where it writes: the same for two submissions of one run, and for no other."""
    place = run.output.store if is_url(run.output.store) else os.path.realpath(run.output.store)
    name = re.sub(r"[^A-Za-z0-9_]+", "-", Path(place).stem).strip("-")[:40] or "run"
    return f"{name}-{_digest([place, same_numbers(run)])}"


def same_numbers(run: Run) -> str:
    """The same for two runs that would write the same numbers."""
    return _digest(
        [
            run.numbers,
            [redacted(path) for path in _files(run)],
            [redacted_data(section.fileset) for section in run.inputs.values() if section.fileset],
            run.radius_model.iterations,
            run.optimiser.iterations,
        ]
    )


def _files(run: Run) -> list[str]:
    found = [path for section in run.inputs.values() for path in section.files]
    for section in run.inputs.values():
        if section.fileset is not None:
            found += [
                path
                for dataset in load_fileset(section.fileset).values()
                for path in dataset["files"]
            ]
    return found


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def _absolute(path: str) -> str:
    return (
        path
        if "://" in path or path.startswith("example:")
        else os.path.abspath(os.path.expanduser(path))
    )


def _refuse_object(where: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{where} is a Python object, and a run on a scheduler is plain data. Install it as an entry point on the "
            "scheduler and the workers and give its name, or use djservice.run."
        )
