"""Standard error of an R that was learned with a network: against a problem that is solved exactly, and repeated runs."""

import asyncio
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice.evaluation.joint_gradient import JointEvents, JointSums
from djservice.evaluation.taggers import Network, TorchTagger
from djservice.evaluation.targets import Classes
from djservice.fit.joint_error import ErrorOfRadius, Seen
from djservice.fit.minibatches import MiniBatches
from djservice.fit.requests import JointAnswer, Request

EVENTS, TREES = 4000, 4


class Quadratic:
    """Events whose loss is z A z / 2 - b z, where z are R and two parameters; b has noise of events and trees."""

    def __init__(self, bend: float) -> None:
        generator = np.random.default_rng(2)
        self.bends = np.array([[bend, 0.9, -0.5], [0.9, 1.0, 0.2], [-0.5, 0.2, 2.0]])
        spread = np.array([[0.7, 0.3, 0.0], [0.0, 0.5, 0.2], [0.1, 0.0, 0.4]])
        self.of_events = generator.standard_normal((EVENTS, 3)) @ spread
        self.optimum = np.array([0.5, 0.1, -0.2])

    async def evaluate(self, request: Request) -> JointAnswer:
        assert request.network is not None
        z = np.array([request.radius, *request.network.theta]) - self.optimum
        generator = np.random.default_rng(90 + request.iteration)
        noise = generator.standard_normal((EVENTS, 3)) * [0.6, 0.2, 0.3]
        b = self.of_events + noise
        loss, slopes = z @ self.bends @ z / 2.0 - b @ z, self.bends @ z - b
        total = np.array([EVENTS, loss.sum(), slopes[:, 0].sum()])
        sums = JointSums(total, np.eye(3), slopes[:, 1:].sum(axis=0), EVENTS, EVENTS * TREES)
        return sums, JointEvents(loss, slopes[:, 0], loss)


def error_of(problem: Quadratic) -> Any:
    keys = np.arange(EVENTS, dtype=np.uint64)
    tagger = TorchTagger(lambda outputs: None)  # type: ignore[arg-type, return-value]
    network = Network(tagger, Classes((1.0, 0.0), (1.0, 1.0)), 8, problem.optimum[1:])
    subset = MiniBatches(keys, 1, EVENTS).minibatch(0)
    tool = ErrorOfRadius(
        problem.evaluate, network, 0.5, subset, np.ones(EVENTS), TREES, lambda numbers: None
    )
    return asyncio.run(tool.of(Seen(1000, 20_000)))


def test_a_problem_that_is_solved_exactly() -> None:
    """The error is that of the inverse of all second derivatives, which includes the network's."""
    problem = Quadratic(bend=2.0)
    found, inverse = error_of(problem), np.linalg.inv(problem.bends)
    assert found.curvature == pytest.approx(1.0 / inverse[0, 0], rel=1e-4)
    of_events = inverse @ np.cov(problem.of_events.T) @ inverse / 1000
    assert found.of_events == pytest.approx(of_events[0, 0] ** 0.5, rel=0.1)
    of_trees = inverse @ np.diag(np.square([0.6, 0.2, 0.3])) @ inverse * TREES / 20_000
    assert found.of_trees == pytest.approx(of_trees[0, 0] ** 0.5, rel=0.1)
    assert found.error == pytest.approx(np.hypot(found.of_events, found.of_trees))
    # At a fixed network the loss is curved, but not that of the best network.
    flat = error_of(Quadratic(bend=0.8))
    assert not flat.determined and np.isnan(flat.error)


@pytest.mark.long
def test_learned_radii_scatter_by_their_errors(
    scheduler: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    requires: Callable[[str, object], None],
) -> None:
    """The toy of dipoles with new events and a new seed of the run each time."""
    requires("torch (pip install 'djservice[torch]')", find_spec("torch"))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "workflows"))
    import joint_dipoles

    radii, errors = [], []
    for seed in range(10):
        path = tmp_path / f"{seed}.root"
        joint_dipoles.write(path, 500, 100 + seed)
        settings = joint_dipoles.settings(path, tmp_path / f"{seed}.zarr", 0.6, 200)
        settings |= {"cluster": {"scheduler": scheduler}, "seed": seed}
        settings["joint"] |= {"batch_events": 100, "score_trees": 2}
        result = dj.run(dj.Run.from_dict(settings)).result
        radii.append(result.joint_radius)
        errors.append(result.joint_radius_error)
    r, e = np.array([radii, errors])
    assert np.isfinite(e).all()
    mean = np.average(r, weights=e**-2)
    freedom = len(r) - 1
    z = (np.sum(((r - mean) / e) ** 2) - freedom) / (2.0 * freedom) ** 0.5
    print(np.round(r, 4), np.round(e, 4), f"z = {z:.2f}")
    assert abs(z) < 4.0
