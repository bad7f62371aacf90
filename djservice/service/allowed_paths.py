"""Where submitted runs may read and write, where the operator of a scheduler says so.

``djservice.input-roots`` and ``djservice.output-roots`` of Dask's configuration are lists of folders and of the
beginnings of URLs. Without them everything is allowed that the scheduler's user may do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import unquote

import dask

from djservice.core.redact import redacted
from djservice.errors import ConfigError
from djservice.fit.plan import RunPlan
from djservice.input import examples


def check_roots(plan: RunPlan) -> None:
    """See that a run stays within the roots; symbolic links and ``..`` are followed first.

    Raises
    ------
    ConfigError
        Naming what lies outside.
    """
    inputs = dask.config.get("djservice.input-roots", None)
    if inputs is not None:
        shipped = {examples.path(name) for name in examples.names()}
        for section in plan.run.inputs:
            for source in plan.input(section).sources:
                if source.path not in shipped:
                    _check(source.path, inputs, f"{section}.files", "djservice.input-roots")
    run = plan.run
    outputs = dask.config.get("djservice.output-roots", None)
    if outputs is not None:
        caches = [(f"{section}.cache", given.cache) for section, given in run.inputs.items()]
        for key, place in (
            ("output.store", run.output.store),
            ("output.report", run.output.report),
            *caches,
        ):
            if place is not None:
                _check(place, outputs, key, "djservice.output-roots")


def _check(path: str, roots: Sequence[str], key: str, setting: str) -> None:
    allowed = _url_within if "://" in path else _path_within
    if not any(allowed(path, root) for root in roots):
        raise ConfigError(
            f"{key}: {redacted(path)} lies outside of what this scheduler allows ({setting}: {', '.join(roots) or 'nothing'})."
        )


def _path_within(path: str, root: str) -> bool:
    if "://" in root:
        return False
    place, top = os.path.realpath(path), os.path.realpath(root)
    return place == top or place.startswith(os.path.join(top, ""))


def _url_within(url: str, root: str) -> bool:
    return (
        "://" in root
        and ".." not in unquote(unquote(url))
        and url.startswith(root.rstrip("/") + "/")
    )
