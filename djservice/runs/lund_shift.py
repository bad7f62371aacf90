"""shift(run): R* with each variation of Lund weights, by ``djservice lund shift``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from djservice.config.run import Run
from djservice.core.atomic import write_text
from djservice.core.notebook import shown
from djservice.core.progress import Watch
from djservice.core.regular import in_the_way
from djservice.core.urls import beside, is_url
from djservice.errors import ConfigError, InputFileError
from djservice.lund_planes.prong_jets import QUARKS, quark_variations
from djservice.lund_planes.published import read_ratio
from djservice.lund_planes.ratio import LundRatio
from djservice.lund_planes.weights import changes_of
from djservice.runs.run import run as do_run

_START = b'{"radius"'


def shift(run: Run, toys: int, watch: Watch | None = None) -> Path:
    """Repeat a run with each variation of its Lund weights, and write the changes of R*.

    Parameters
    ----------
    run
        A run with ``input.lund_weights``, whose variation is not read. Its store is that of the
        nominal weights; the others are beside it. A run that was stopped continues.
    toys
        Toys of the bins, and as many of the fits.
    watch
        Watch that shows the progress; by default bars in a notebook, else lines on standard error.

    Returns
    -------
    Path
        The JSON file: R* of each variation, without weights too, and the changes up and down.

    Raises
    ------
    DjserviceError
        If the run has no Lund weights, or one of the runs fails.
    """
    if run.input.lund_weights is None or is_url(str(run.output.store)):
        raise ConfigError(
            "expected a run with input.lund_weights and a store in a folder. "
            "docs/guides/lund.md has an example."
        )
    page = beside(_beside(run, "shift"), ".json", ".zarr")
    if other := in_the_way(page, _START):
        raise InputFileError(f"{page}: expected no file or a shift, found {other}. Move it away.")
    ratio = read_ratio(run.input.lund_weights.ratio)
    radii: dict[str, float] = {}
    with shown(watch) as display:
        for name, varied in _runs(run, ratio, toys):
            display.say(f"Lund weights: {name}")
            radii[name] = do_run(varied, watch=display).radius
    kinds = ("statistics", "extrapolation")
    changes = changes_of(
        radii["nominal"],
        {kind: np.array([radii[f"{kind}_{i}"] for i in range(toys)]) for kind in kinds},
        {name: (radii[f"{name}_up"], radii[f"{name}_down"]) for name in _systematics(run, ratio)},
    )
    changes["weights"] = (radii["nominal"] - radii["unweighted"],) * 2
    try:
        write_text(page, json.dumps({"radius": radii, "changes": changes}, indent=None) + "\n")
    except OSError as error:
        raise InputFileError(f"{page}: cannot be written: {error.strerror or error}.") from error
    return page


def _systematics(run: Run, ratio: LundRatio) -> list[str]:
    """Names of the variations up and down: those of the ratio, and those of generated quarks."""
    section = run.input.lund_weights
    assert section is not None
    of_quarks = quark_variations(ratio) if section.jets.prongs == QUARKS else []
    return [*ratio.variations, *of_quarks]


def _runs(run: Run, ratio: LundRatio, toys: int) -> Iterator[tuple[str, Run]]:
    """The runs by the names of their variations."""
    section = run.input.lund_weights
    assert section is not None
    systematics = _systematics(run, ratio)
    names = ["nominal", *(f"{n}_{way}" for n in systematics for way in ("up", "down"))]
    names += [f"{kind}_{i}" for kind in ("statistics", "extrapolation") for i in range(toys)]
    for name in names:
        weights = section.model_copy(update={"variation": name})
        yield name, _with(run, weights, name if name != "nominal" else "")
    yield "unweighted", _with(run, None, "unweighted")


def _with(run: Run, weights: Any, name: str) -> Run:
    """The run with other Lund weights, and a store of this name."""
    store = str(_beside(run, name)) if name else run.output.store
    output = run.output.model_copy(update={"store": store, "report": None})
    inputs = run.input.model_copy(update={"lund_weights": weights})
    return run.model_copy(update={"input": inputs, "output": output})


def _beside(run: Run, name: str) -> Path:
    store = Path(str(run.output.store)).expanduser()
    return store.with_name(f"{store.name.removesuffix('.zarr')}.{name}.zarr")
