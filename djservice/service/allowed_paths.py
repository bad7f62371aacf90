"""Folders and URLs that submitted runs may read and write, as the operator sets them.

``djservice.input-roots`` and ``djservice.output-roots`` of Dask's configuration are a folder or a
URL prefix each, or lists of them. Without them a run may read and write whatever the user of the
scheduler may. Messages about a path outside the roots never depend on what is there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from glob import has_magic
from urllib.parse import unquote, urlsplit

import dask

from djservice.config.run import Run
from djservice.core.private import full_url
from djservice.core.regular import irregular
from djservice.core.urls import is_url
from djservice.errors import ConfigError, ServiceError
from djservice.fit.plan import RunPlan
from djservice.input import examples
from djservice.input.fileset import load_fileset

INPUT_ROOTS, OUTPUT_ROOTS = "djservice.input-roots", "djservice.output-roots"


def roots(setting: str) -> tuple[str, ...] | None:
    """The roots of a setting; None if it is not set.

    Raises
    ------
    ServiceError
        If they are not folders or URL prefixes, or one of them allows every path.
    """
    value = dask.config.get(setting, None)
    if value is None:
        return None
    folders = (value,) if isinstance(value, str) else value
    if not isinstance(folders, (list, tuple)) or not all(isinstance(root, str) for root in folders):
        raise ServiceError(
            f"{setting}: expected a folder, or a list of folders and URL prefixes, found {value!r}."
        )
    for root in folders:
        problem = _problem_of(root)
        if problem:
            raise ServiceError(f"{setting}: {root!r} {problem} Correct Dask's configuration.")
    return tuple(folders)


def _problem_of(root: str) -> str:
    if "://" in root:
        parts = urlsplit(root)
        if parts.scheme == "file" or not parts.netloc:
            return "is no URL of a host or a bucket; folders are given as paths."
        return ""
    if not os.path.isabs(root):
        return "is not an absolute path, and no URL prefix either."
    if os.path.realpath(root) == os.path.sep:
        return "allows every path; leave the setting out if that is what you want."
    return ""


def check_roots(plan: RunPlan) -> None:
    """Check that a run stays within the roots, after symbolic links and ``..`` are resolved.

    Patterns are checked before they are expanded, and the files that they stand for after it.

    Raises
    ------
    ConfigError
        If a path lies outside; the message names it as the submission does.
    """
    run = plan.run
    inputs, outputs = roots(INPUT_ROOTS), roots(OUTPUT_ROOTS)
    if outputs is not None:
        for key, path in _written(run):
            _check(path, path, outputs, key, OUTPUT_ROOTS)
    if inputs is None:
        return
    for name, section in run.inputs.items():
        key = f"{name}.files"
        fileset = {} if section.fileset is None else load_fileset(section.fileset)
        named = [path for dataset in fileset.values() for path in dataset["files"]]
        for pattern in (*section.files, *named):
            if not pattern.startswith("example:"):
                _check(pattern, _fixed_part(pattern), inputs, key, INPUT_ROOTS)
    shipped = {examples.path(name) for name in examples.names()}
    for name in run.inputs:
        for source in plan.input(name).sources:
            if source.path not in shipped:
                _check(source.path, source.path, inputs, f"{name}.files", INPUT_ROOTS)


def check_observables(run: Run) -> None:
    """Check that the files of observables lie within the input roots, before they are read.

    Raises
    ------
    ConfigError
        If a path lies outside; the message names it as the submission does.
    """
    allowed = roots(INPUT_ROOTS)
    for key, path in run.observable_files if allowed is not None else ():
        _check(path, path, allowed or (), key, INPUT_ROOTS)


def check_store(run: Run) -> None:
    """Check that nothing stands in the place of the store that would block who opens it.

    Raises
    ------
    ConfigError
        If a pipe, a socket or a device does.
    """
    store = run.output.store
    for path in () if is_url(store) else (store, os.path.join(store, "zarr.json")):
        other = irregular(path)
        if other and (other, path) != ("a folder", store):
            raise ConfigError(
                f"output.store: expected a folder, found {other} at {path}. Choose another one."
            )


def _written(run: Run) -> list[tuple[str, str]]:
    """Keys and paths of what a run writes."""
    caches = [(f"{name}.cache", section.cache) for name, section in run.inputs.items()]
    paths = [("output.store", run.output.store), ("output.report", run.output.report), *caches]
    return [(key, path) for key, path in paths if path is not None]


def _fixed_part(pattern: str) -> str:
    """The folder in which a pattern begins to match, or a path without a pattern."""
    if "://" in pattern or not has_magic(pattern):
        return pattern
    parts = pattern.split(os.path.sep)
    first = next(i for i, part in enumerate(parts) if has_magic(part))
    # What follows ".." behind a pattern is in no folder that is known before it is expanded.
    return os.path.sep if ".." in parts[first:] else os.path.sep.join(parts[:first])


def _check(shown: str, path: str, allowed: Sequence[str], key: str, setting: str) -> None:
    within = _url_within if "://" in path else _path_within
    # What is not shown of a URL may lead out of a root too.
    if not any(within(full_url(path), root) for root in allowed):
        raise ConfigError(
            f"{key}: {shown} lies outside the folders that this scheduler allows "
            f"({setting}: {', '.join(allowed) or 'none'}). Choose a path inside one of them."
        )


def _path_within(path: str, root: str) -> bool:
    if "://" in root:
        return False
    target, folder = os.path.realpath(path), os.path.realpath(root)
    return target == folder or target.startswith(os.path.join(folder, ""))


def _url_within(url: str, root: str) -> bool:
    """True if a URL lies below a root; a chain of URLs (``::``) has another file in its end."""
    return (
        "://" in root
        and "::" not in url
        and ".." not in unquote(unquote(url))
        and url.startswith(root.rstrip("/") + "/")
    )
