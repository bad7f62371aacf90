"""Folders and URLs that submitted runs may read and write, as the operator sets them.

``djservice.input-roots`` and ``djservice.output-roots`` of Dask's configuration are lists of
folders and of URL prefixes. Without them a run may read and write whatever the user of the
scheduler may.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import unquote

import dask

from djservice.core.private import full_url
from djservice.errors import ConfigError
from djservice.fit.plan import RunPlan
from djservice.input import examples


def check_roots(plan: RunPlan) -> None:
    """Check that a run stays within the roots, after symbolic links and ``..`` are resolved.

    Raises
    ------
    ConfigError
        If a path lies outside; the message names it.
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
        caches = [(f"{section}.cache", settings.cache) for section, settings in run.inputs.items()]
        for key, path in (
            ("output.store", run.output.store),
            ("output.report", run.output.report),
            *caches,
        ):
            if path is not None:
                _check(path, outputs, key, "djservice.output-roots")


def _check(path: str, roots: Sequence[str], key: str, setting: str) -> None:
    allowed = _url_within if "://" in path else _path_within
    # What is not shown of a URL may lead out of a root too.
    if not any(allowed(full_url(path), root) for root in roots):
        raise ConfigError(
            f"{key}: {path} lies outside the folders that this scheduler allows "
            f"({setting}: {', '.join(roots) or 'none'}). Choose a path inside one of them."
        )


def _path_within(path: str, root: str) -> bool:
    if "://" in root:
        return False
    target, folder = os.path.realpath(path), os.path.realpath(root)
    return target == folder or target.startswith(os.path.join(folder, ""))


def _url_within(url: str, root: str) -> bool:
    return (
        "://" in root
        and ".." not in unquote(unquote(url))
        and url.startswith(root.rstrip("/") + "/")
    )
