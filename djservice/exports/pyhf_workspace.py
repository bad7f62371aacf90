"""The histograms of a significance as a workspace of pyhf (HistFactory's JSON schema 1.0.0)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from djservice.core.atomic import write_text
from djservice.core.typing import Floats
from djservice.errors import StoreError
from djservice.store.run_store import Store

CHANNEL = "djservice"


def workspace(path: str | Path) -> dict[str, Any]:
    """The workspace of the run in a store, at its optimum.

    It has one channel, with the bins that the significance has there, and the samples ``signal``,
    scaled by ``mu``, and ``background``. The relative uncertainty of the background is a
    ``shapesys``, which is independent in each bin, as in the objective. The observed data are the
    sum of both samples.

    Raises
    ------
    StoreError
        If there is no such store, its objective is not a significance, or it has no optimum yet.
    """
    store = Store.read(path)
    section = store.attributes["run"].get("objective")
    if section is None or section["kind"] != "significance":
        raise StoreError(
            f"{store.path}: expected a run whose objective is a significance, found "
            f"{'a loss' if section is None else section['kind']}. Only a significance has signal "
            "and background."
        )
    if store.n_complete("spectrum") < 2:
        raise StoreError(
            f"{store.path}: the run has not evaluated its optimum yet. Continue it with "
            "`djservice run`."
        )
    contents, group = (store.column("spectrum", name)[1] for name in ("contents", "group"))
    signals = len(section["signal"])
    signal, background = (
        section["luminosity"] * np.bincount(group, part.sum(axis=0))
        for part in (contents[:signals], contents[signals:])
    )
    return _workspace(signal, background, section["background_uncertainty"])


def _workspace(signal: Floats, background: Floats, uncertainty: float) -> dict[str, Any]:
    scale = {"name": "mu", "type": "normfactor", "data": None}
    spread = {
        "name": "background_uncertainty",
        "type": "shapesys",
        "data": (uncertainty * background).tolist(),
    }
    samples = [
        {"name": "signal", "data": np.maximum(signal, 0.0).tolist(), "modifiers": [scale]},
        {
            "name": "background",
            "data": background.tolist(),
            "modifiers": [spread] if uncertainty > 0.0 else [],
        },
    ]
    expected = np.sum([sample["data"] for sample in samples], axis=0).tolist()
    poi = {"name": "mu", "inits": [1.0], "bounds": [[0.0, 10.0]]}
    measurement = {"name": "significance", "config": {"poi": "mu", "parameters": [poi]}}
    return {
        "channels": [{"name": CHANNEL, "samples": samples}],
        "observations": [{"name": CHANNEL, "data": expected}],
        "measurements": [measurement],
        "version": "1.0.0",
    }


def write_workspace(store: str | Path, output: Path, force: bool) -> None:
    """Write :func:`workspace` as a JSON file.

    Raises
    ------
    StoreError
        As of :func:`workspace`; if the file exists and ``force`` is False, or cannot be written.
    """
    if output.exists() and not force:
        raise StoreError(
            f"{output}: exists already; choose another name, or pass --force to replace it."
        )
    text = json.dumps(workspace(store), indent=2)
    try:
        write_text(output, text + "\n")
    except OSError as error:
        raise StoreError(
            f"{output}: cannot be written: {error.strerror or error}. Choose another file."
        ) from error
