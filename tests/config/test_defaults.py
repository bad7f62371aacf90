"""The defaults of a run, which results depend on: a changed one is another result of the same configuration."""

from __future__ import annotations

from typing import Any

import pytest

from djservice.config.run import Run

#: By task, what a configuration means that does not say it.
DEFAULTS: dict[str, dict[str, Any]] = {
    "global": {
        "clustering.asymmetry": 1.0,
        "clustering.learn_rigidity": None,
        "clustering.power": -1.0,
        "clustering.rigidity": 1.0,
        "clustering.scale": "minimum",
        "estimator.name": "state_baseline",
        "input.bad_inputs": "fail",
        "input.bundle_events": None,
        "input.dataset": "",
        "input.entries": None,
        "input.eta_max": None,
        "input.particle_weight": None,
        "input.particles": None,
        "input.pt_min": 0.0,
        "input.schema": "nanoaod",
        "input.selection": None,
        "input.tree": None,
        "input.truth": None,
        "input.weight": "genWeight",
        "loss[0].bins": 50,
        "loss[0].bound": 0.25,
        "loss[0].coefficient": 1.0,
        "loss[0].cuts": [],
        "loss[0].kind": "squared_error",
        "loss[0].observable.name": "dijet_mass",
        "loss[0].range": [0.0, 250.0],
        "loss[0].scale": 1.0,
        "optimiser.averaging_start": None,
        "optimiser.batch_events": 100,
        "optimiser.decay_iterations": 25.0,
        "optimiser.iterations": 80,
        "optimiser.kind": "adam",
        "optimiser.learning_rate": 0.05,
        "optimiser.tolerance": None,
        "optimiser.trees": 10,
        "radius.maximum": 2.0,
        "radius.minimum": 0.1,
        "radius.reach": [0.1, 1.5],
        "radius.reference_pt": None,
        "radius.start": 1.0,
        "robust.augmentations": [],
        "robust.weight": 0.0,
        "scan.radii": [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2],
        "scan.trees": 10,
        "seed": 1,
        "spectrum.radii": [0.65, 1.0],
        "spectrum.trees": 20,
    },
    "per-event": {
        "per_event.accepted": 20,
        "per_event.choose_trees": 100,
        "per_event.decay_iterations": 10.0,
        "per_event.iterations": 40,
        "per_event.learning_rate": 0.2,
        "per_event.score_trees": 100,
        "per_event.starts": [0.4, 0.7, 1.0],
        "per_event.trees": 20,
    },
    "radius-model": {
        "radius_model.batch_events": 200,
        "radius_model.decay_iterations": 100.0,
        "radius_model.feature_radius": 0.4,
        "radius_model.held_back": 0.3,
        "radius_model.iterations": 300,
        "radius_model.learning_rate": 0.03,
        "radius_model.model.name": "linear",
        "radius_model.score_trees": 20,
        "radius_model.trees": 10,
    },
    "particle-weights": {
        "clustering.scale": "safe",
        "particle_weights.batch_events": 40,
        "particle_weights.decay_iterations": None,
        "particle_weights.estimate": "full",
        "particle_weights.held_back": 0.3,
        "particle_weights.iterations": 120,
        "particle_weights.learn_radius": True,
        "particle_weights.learning_rate": 0.15,
        "particle_weights.model.name": "logistic",
        "particle_weights.radius": None,
        "particle_weights.score_trees": 20,
        "particle_weights.start": 0.7,
        "particle_weights.tracker_eta": 2.5,
        "particle_weights.trees": 32,
        "particle_weights.vertex": None,
    },
    "joint": {
        "joint.batch_events": 200,
        "joint.class_weights": None,
        "joint.constituents": 64,
        "joint.decay_iterations": 200.0,
        "joint.held_back": 0.3,
        "joint.iterations": 600,
        "joint.jets": 1,
        "joint.learn_radius": True,
        "joint.learning_rate": 0.01,
        "joint.loss": "cross_entropy",
        "joint.network.name": "moment_efn",
        "joint.network_steps": 10,
        "joint.radius": None,
        "joint.radius_rate": 0.05,
        "joint.score_trees": 20,
        "joint.trees": 8,
    },
}


@pytest.mark.parametrize("task", DEFAULTS)
def test_the_defaults_are_those_that_were_published(task: str) -> None:
    least = {"input": {"files": "a.root"}, "loss": {"target": 125.0}, "output": {"store": "a.zarr"}}
    run = Run.from_dict(least | {"task": task})
    numbers = run.numbers | {
        f"{name}.iterations": getattr(run, name).iterations
        for name in ("optimiser", "radius_model", "particle_weights", "joint")
    }
    assert {key: numbers[key] for key in DEFAULTS[task]} == DEFAULTS[task]
