"""Apply a fit to a file: the radius of each event, and the observable with that radius.

Events are independent of each other here, so the result of a file depends only on that file and on
the fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from djservice.config.input import Input
from djservice.config.run import Run
from djservice.config.sections import LossTerm
from djservice.core.private import public
from djservice.core.progress import Watch
from djservice.core.provenance import code_hash
from djservice.errors import ConfigError, StoreError
from djservice.estimators.score_function import Score
from djservice.fit.plan import RunPlan
from djservice.fit.requests import Request
from djservice.on_dask.bundles import Bundles
from djservice.radius_models.base import Bounded
from djservice.radius_models.prediction import Prediction, Standardiser
from djservice.store.checked import attributes_of
from djservice.store.fresh import NewGroup, create_array
from djservice.store.local_folder import LocalFolder
from djservice.store.run_store import Store
from djservice.weight_models.learned import LearnedWeights

#: Random stream of the trees from which the observable is computed.
STREAM = "apply"


async def apply_fit(
    client: Client,
    plan: RunPlan,
    fit: Store,
    section: Input,
    path: Path,
    attributes: Mapping[str, Any],
    watch: Watch,
) -> None:
    """Write the store of one file, completely or not at all.

    Its arrays have shape (event,), in the order of the entries:

    - ``key``: identities of the events,
    - ``weight``: weights of the events,
    - ``run``, ``luminosityBlock``, ``event``, ``file``, ``entry``: the events in the file,
    - ``radius``: radius of each event,
    - ``event_mean``, ``event_error``: mean of the observable over the accepted trees with that
      radius, and its standard error,
    - ``event_accepted``: number of accepted trees,
    - ``left``: with one radius per event, True for events that stay at the global radius.

    Parameters
    ----------
    client
        Client of the cluster.
    plan
        Plan of the fitted run.
    fit
        Finished store of that run.
    section
        Input section that names the file and describes its content.
    path
        Store to write.
    attributes
        Attributes to write in addition to versions and inputs.
    watch
        Watch that shows the progress.

    Raises
    ------
    DjserviceError
        If the file cannot be read, or the store cannot be written.
    """
    run = plan.run
    bundles = await Bundles.load(client, RunPlan(_of_file(run, section)), watch)
    result = fit.attributes["result"]
    rigidity = result["rigidity"] if run.clustering.learn_rigidity is not None else None
    columns: dict[str, Any] = {"key": bundles.keys, "weight": bundles.weight, **bundles.identity}
    radius: Any = result["radius"]
    trees = run.spectrum.trees
    if run.task == "per-event":
        parts = [part async for part in bundles.per_event(plan.per_event, radius, 0)]
        radius = np.concatenate([part.radius for part in parts])
        columns["left"] = np.concatenate([part.left for part in parts])
        trees = run.per_event.score_trees
    if run.task == "radius-model":
        features = await bundles.find_features(
            plan.features, run.radius_model.feature_radius, run.clustering.power
        )
        radius, _ = prediction_of(plan.model, fit)(features)
        trees = run.radius_model.score_trees
    weights = None
    if run.task == "particle-weights":
        learned = LearnedWeights.of(plan.weighting, fit)
        radius, weights = learned.radius, learned.weights
        await bundles.prepare(plan.weighting)
        trees = run.particle_weights.score_trees
    request = Request(
        radius,
        trees,
        STREAM,
        per_event=True,
        rigidity=rigidity,
        estimator=Score(),
        weights=weights,
        version=0,
    )
    _, events = await bundles.evaluate(request)
    assert events is not None
    columns["radius"] = np.broadcast_to(np.asarray(radius, dtype=np.float64), bundles.keys.shape)
    columns |= {
        "event_mean": events.mean,
        "event_error": events.mean_error,
        "event_accepted": events.accepted,
    }
    provenance = {
        "code": code_hash(),
        "versions": bundles.versions,
        "inputs": [public(asdict(file)) for file in bundles.inputs],
        "quarantined": [public(asdict(bad)) for bad in bundles.bad],
    }
    units = fit.attributes["observable"]["units"]
    _write(path, columns, {**attributes, **provenance}, units)


def prediction_of(model: Bounded, fit: Store) -> Prediction:
    """The radius model of a finished run."""
    theta, mean, sd = (
        np.array(fit.attribute("radius_model", name)) for name in ("theta", "mean", "sd")
    )
    return Prediction(model, Standardiser(mean, sd), theta)


def read_attributes(path: Path) -> dict[str, Any]:
    """Attributes of the store of a run or of a file."""
    return attributes_of(LocalFolder(str(path)))


def _of_file(run: Run, section: Input) -> Run:
    """The run with the file as its input.

    Only the observable and its cuts are applied. The loss is replaced by one that needs no truth,
    unless the radius of each event is chosen by it.
    """
    lacking = [name for name in run.input.columns if name not in section.columns]
    if lacking:
        raise ConfigError(
            f"apply.columns: expected {', '.join(lacking)} as in the input of the fit, found none, "
            "and their defaults would be taken. Name them."
        )
    if run.task == "per-event":
        return run.model_copy(update={"input": section})
    first = next(iter(run.terms.values()))
    loss = LossTerm(observable=first.observable, target=0.0, cuts=first.cuts)
    return run.model_copy(update={"input": section, "loss": (loss,), "objective": None})


def _write(
    path: Path, columns: Mapping[str, Any], attributes: Mapping[str, Any], units: str
) -> None:
    def fill(root: NewGroup) -> None:
        for name, column in columns.items():
            values = np.ascontiguousarray(column)
            events = len(values)
            create_array(
                root,
                name,
                values.dtype.str,
                {"event": (events, max(1, min(events, 65536)))},
                values,
                units,
            )
        root.attrs.update(dict(attributes))

    try:
        LocalFolder(str(path)).create(fill)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error.strerror or error}. "
            "Free space or correct the permissions."
        ) from error
