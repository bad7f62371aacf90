"""Sizes that a configuration may set, refused before anything of such a size is allocated."""

import time
import tracemalloc
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import zarr

import djservice as dj
from djservice.config.run import Run
from djservice.errors import ConfigError
from djservice.fit.plan import RunPlan
from djservice.on_dask.limits import (
    DEFAULTS,
    check_loaded,
    check_sizes,
    limit,
    store_bytes,
    sums_bytes,
)
from djservice.store.columns import ModelColumns, StoreColumns, create_groups
from djservice.store.local_folder import LocalFolder
from djservice.store.meanings import IDENTITY

Settings = dict[str, Any]
MODEL = {"name": "network", "hidden": 100}
#: More than a limit; what no run can have is refused with the configuration (core/bounds.py).
MANY, HUGE = 900_000, 1_200_000_000

WEIGHTS = {
    "task": "particle-weights",
    "loss": {"kind": "bounded_error", "observable": "soft_dijet_mass", "target": 125.0},
}

JOINT = {
    "task": "joint",
    "input": {"truth": "GenPart:higgs"},
    "joint": {"classes": [1.0, 0.0]},
}

#: Limit, the key in the message, and the sections that exceed it.
TOO_LARGE = [
    ("iterations", r"optimiser\.iterations", {"optimiser": {"iterations": MANY}}),
    (
        "iterations",
        r"per_event\.iterations",
        {"task": "per-event", "per_event": {"iterations": MANY}},
    ),
    (
        "iterations",
        r"radius_model\.iterations",
        {"task": "radius-model", "radius_model": {"iterations": MANY}},
    ),
    *(
        ("trees", rf"{section}\.trees", {section: {"trees": MANY}})
        for section in ("optimiser", "scan", "spectrum")
    ),
    *(
        ("trees", rf"per_event\.{key}", {"task": "per-event", "per_event": {key: MANY}})
        for key in ("trees", "choose_trees", "score_trees")
    ),
    *(
        ("trees", rf"radius_model\.{key}", {"task": "radius-model", "radius_model": {key: MANY}})
        for key in ("trees", "score_trees")
    ),
    *(
        (name, rf"particle_weights\.{key}", WEIGHTS | {"particle_weights": {key: MANY}})
        for name, key in (
            ("trees", "trees"),
            ("trees", "score_trees"),
            ("iterations", "iterations"),
        )
    ),
    (
        "parameters",
        r"particle_weights\.model",
        WEIGHTS | {"particle_weights": {"model": {"name": "monotone", "knots": HUGE}}},
    ),
    (
        "path-numbers",
        r"particle_weights\.iterations",
        WEIGHTS
        | {"particle_weights": {"model": {"name": "monotone", "knots": 20}, "iterations": 90_000}},
    ),
    (
        "sums-bytes",
        "particle_weights.batch_events times parameters",
        WEIGHTS
        | {
            "particle_weights": {
                "model": {"name": "monotone", "knots": 50},
                "iterations": 1,
                "batch_events": 1_000_000,
            }
        },
    ),
    (
        "parameters",
        r"joint\.network",
        JOINT | {"joint": {"network": {"name": "moment_efn", "latent": HUGE}}},
    ),
    ("iterations", r"joint\.iterations", JOINT | {"joint": {"iterations": MANY}}),
    ("trees", r"joint\.trees", JOINT | {"joint": {"trees": MANY}}),
    ("radii", r"scan\.radii", {"scan": {"radii": np.linspace(0.1, 2.0, 2000).tolist()}}),
    ("radii", r"spectrum\.radii", {"spectrum": {"radii": np.linspace(0.1, 2.0, 2000).tolist()}}),
    (
        "radii",
        r"per_event\.starts",
        {"task": "per-event", "per_event": {"starts": np.linspace(0.1, 2.0, 2000).tolist()}},
    ),
    ("bins", r"loss\[0\]\.bins", {"loss": {"kind": "robust_width", "bins": 9_000}}),
    ("jets", "jets", {"loss": {"observable": {"name": "jet_multiplicity", "jets": 30_000}}}),
    (
        "parameters",
        r"radius_model\.model\.hidden",
        {"task": "radius-model", "radius_model": {"model": {"name": "network", "hidden": HUGE}}},
    ),
    (
        "parameters",
        r"radius_model\.model",
        {"task": "radius-model", "radius_model": {"model": {"name": "network", "hidden": 9_000}}},
    ),
    (
        "path-numbers",
        r"radius_model\.iterations",
        {"task": "radius-model", "radius_model": {"model": MODEL, "iterations": 50_000}},
    ),
    (
        "sums-bytes",
        "sums",
        {
            "task": "radius-model",
            "loss": {"kind": "robust_width", "bins": 1000},
            "radius_model": {"model": MODEL},
        },
    ),
    ("bundle-events", r"input\.bundle_events", {"input": {"bundle_events": HUGE}}),
]


def with_sections(settings: Settings, sections: Settings) -> Run:
    """The run with changed keys of its sections."""
    merged = {
        key: settings[key] | value
        if isinstance(value, dict) and key in settings and key != "loss"
        else value
        for key, value in sections.items()
    }
    return Run.from_dict(settings | merged)


@pytest.mark.parametrize("name, key, sections", TOO_LARGE)
def test_sizes_are_bounded_before_they_are_allocated(
    tiny: Settings, name: str, key: str, sections: Settings
) -> None:
    run = with_sections(tiny, sections)
    plan = RunPlan(run)
    began = time.process_time()
    tracemalloc.start()
    with pytest.raises(ConfigError, match=rf"{key}.*found [\d,]+\..*djservice\.limits\.{name}\b"):
        check_sizes(plan)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert time.process_time() - began < 5.0


def test_a_run_and_a_scan_are_bounded_without_a_service(tiny: Settings, tmp_path: Path) -> None:
    run = with_sections(tiny, {"scan": {"trees": MANY}})
    with pytest.raises(ConfigError, match=r"djservice\.limits\.trees"):
        dj.run(run)
    with pytest.raises(ConfigError, match=r"djservice\.limits\.trees"):
        dj.scan(run, tmp_path / "scan.zarr")


@pytest.mark.parametrize("value", [0, -1, 1.5, "many", True, None])
def test_a_limit_is_a_whole_number(value: Any) -> None:
    with (
        dask.config.set({"djservice.limits.trees": value}),
        pytest.raises(ConfigError, match=r"djservice\.limits\.trees: expected a whole number"),
    ):
        limit("trees")


def test_limits_come_from_dasks_configuration() -> None:
    assert limit("store-bytes") == DEFAULTS["store-bytes"]
    with dask.config.set({"djservice.limits.store_bytes": 7}):  # as from the environment
        assert limit("store-bytes") == 7
    with (
        dask.config.set({"djservice.limits.treess": 7}),
        pytest.raises(ConfigError, match=r"unknown key treess.*did you mean 'trees'"),
    ):
        limit("trees")
    with dask.config.set({"djservice.limits": 7}), pytest.raises(ConfigError, match="a mapping"):
        limit("trees")


def shapes(task: str) -> StoreColumns:
    keys, weight = np.arange(100, dtype=np.uint64), np.ones(100)
    model = ModelColumns(
        task.replace("-", "_"),
        ("a", "b", "c"),
        7,
        {"held_back": (keys[:30], weight[:30], weight[:30])},
    )
    return StoreColumns(
        iterations=11,
        scan_radii=(0.4, 0.7, 1.0, 1.2),
        spectrum_radii=3,
        keys=keys,
        weight=weight,
        identity={name: keys.astype(kind) for name, kind in IDENTITY.items()},
        parameters=("R", "alpha") if task == "global" else ("R",),
        starts=(0.4, 0.7, 1.0) if task == "per-event" else (),
        model=model if task in ("radius-model", "particle-weights", "joint") else None,
    )


@pytest.mark.parametrize(
    "task", ["global", "per-event", "radius-model", "particle-weights", "joint"]
)
def test_bytes_of_a_store_are_known_before_it_is_made(
    tiny: Settings, task: str, tmp_path: Path
) -> None:
    shape = shapes(task)
    LocalFolder(str(tmp_path / "s.zarr")).create(lambda root: create_groups(root, shape))
    root = zarr.open_group(tmp_path / "s.zarr", mode="r")
    made = sum(
        array.nbytes for _, array in root.members(max_depth=None) if hasattr(array, "nbytes")
    )
    assert store_bytes(shape) == made
    plan = RunPlan(Run.from_dict(tiny))
    check_loaded(plan, shape, 8)
    with (
        dask.config.set({"djservice.limits.store-bytes": made - 1}),
        pytest.raises(ConfigError, match=r"output\.store: .*djservice\.limits\.store-bytes"),
    ):
        check_loaded(plan, shape, 8)
    with pytest.raises(ConfigError, match=r"10000000 bundles: .*djservice\.limits\.sums-bytes"):
        check_loaded(plan, shape, 10_000_000)


def test_bytes_of_the_sums_are_those_of_moments(tiny: Settings) -> None:
    run = with_sections(tiny, {"loss": {"kind": "robust_width", "bins": 8, "scale": 125.0}})
    plan = RunPlan(run)
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=5.0))
    from djservice.evaluation.evaluate import evaluate

    moments, _ = evaluate(
        events, plan.loss, plan.estimator, plan.setup("cpu").sampling, radius=0.7, trees=4
    )
    assert moments.outer.nbytes + moments.tree_covariance.nbytes == sums_bytes(plan, 1)


def test_bundles_are_counted_before_they_are_made(
    scheduler: str, tiny: Settings, tmp_path: Path
) -> None:
    run = with_sections(tiny, {"input": {"bundle_events": 1}, "cluster": {"scheduler": scheduler}})
    with (
        dask.config.set({"djservice.limits.bundles": 39}),
        pytest.raises(ConfigError, match=r"input\.bundle_events.*found 40\..*limits\.bundles"),
    ):
        dj.run(run)
