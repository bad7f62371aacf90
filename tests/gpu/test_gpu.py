"""On a GPU, where there is one (`make test-gpu`): real events against the processors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from on_device import LOSSES, check_bits, check_sums

import djservice as dj
from djservice.clustering.device import has_gpu

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not has_gpu("auto"), reason="needs a CUDA device, CuPy and numba-cuda"),
    pytest.mark.filterwarnings("ignore::djservice.errors.JumpWarning"),
]

TREES = 10
LOSS = dj.SquaredError(dj.observables.dijet_mass, target=125.0, scale=125.0)
LOSS = LOSS.where(dj.cuts.two_jets(pt_min=20) & dj.cuts.mass_below(250))


@pytest.fixture(scope="module")
def events() -> Any:
    return dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=0.5))


@pytest.mark.parametrize("scale", ["minimum", "safe"])
def test_derivatives_in_particles_are_those_of_the_processors(events: Any, scale: Any) -> None:
    """Trees that take another way are none of a few, and two calls give the same bits."""
    few = events.select(range(20))
    asked: dict[str, Any] = {"radius": 0.7, "trees": 64, "seed": 4, "scale": scale}
    one, other, again = (
        dj.input_gradient(few, LOSS, **asked, device=device) for device in ("cpu", "cuda", "cuda")
    )
    for name in ("value", "error"):
        expected = getattr(one, name)
        np.testing.assert_allclose(
            getattr(other, name), expected, rtol=1e-6, atol=1e-8 * np.nanmax(np.abs(expected))
        )
        np.testing.assert_array_equal(getattr(other, name), getattr(again, name))


def different(one: Any, other: Any, events: Any) -> Any:
    """Which trees take another way, shape (event, tree)."""
    starts = (
        events.offsets[:-1, np.newaxis] * TREES + np.arange(TREES) * events.counts[:, np.newaxis]
    ).ravel()
    return (np.add.reduceat((one.history != other.history).any(axis=1), starts) > 0).reshape(
        len(events), TREES
    )


@pytest.mark.parametrize("rigidity", [1.0, 10.0])
@pytest.mark.parametrize(
    "way", [{}, {"scale": "safe"}, {"power": 0.0}, {"parameters": ("radius", "rigidity", "power")}]
)
def test_nearly_all_trees_are_the_same(events: Any, rigidity: float, way: dict[str, Any]) -> None:
    setting: dict[str, Any] = {
        "radius": 0.7,
        "rigidity": rigidity,
        "trees": TREES,
        "seed": 1,
        "history": True,
        **way,
    }
    one, other = (dj.cluster(events, **setting, device=device) for device in ("cpu", "cuda"))
    differs = different(one, other, events)
    assert differs.mean() < 1e-3
    np.testing.assert_allclose(other.momenta[~differs], one.momenta[~differs], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(other.log_prob[~differs], one.log_prob[~differs], rtol=1e-9)
    np.testing.assert_allclose(other.scores[~differs], one.scores[~differs], rtol=1e-6, atol=1e-6)


def test_deterministic_jets_are_the_same(events: Any) -> None:
    one, other = (
        dj.cluster_jets(events, radius=0.4, pt_min=5.0, device=device) for device in ("cpu", "cuda")
    )
    assert one.constituents.tolist() == other.constituents.tolist()


@pytest.mark.parametrize("estimator", [dj.StateBaseline(), dj.LeaveOneOut(), dj.AlternativePath()])
def test_gradients_agree(events: Any, estimator: Any) -> None:
    """Those of the same draws nearly, those of others within their errors."""
    one, same, other = (
        dj.gradient(
            events, LOSS, radius=0.7, trees=20, seed=seed, estimator=estimator, device=device
        )
        for seed, device in ((1, "cpu"), (1, "cuda"), (2, "cuda"))
    )
    assert abs(same.value - one.value) < 0.2 * one.tree_error
    assert abs(other.value - one.value) < 4 * np.hypot(one.tree_error, other.tree_error)


@pytest.mark.parametrize("loss", LOSSES)
def test_sums_are_those_of_the_host_and_have_the_same_bits_each_time(
    events: Any, loss: str
) -> None:
    some = replace(events.select(np.arange(50)), truth=np.full(50, 125.0))
    check_sums(some, LOSSES[loss], 1e-9)
    check_bits(some, LOSSES[loss])


@pytest.mark.filterwarnings("default")  # what dask-cuda says is its own
def test_a_run_with_a_worker_for_each_gpu(tiny: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("dask_cuda", reason="needs dask-cuda")
    found = {}
    for device in ("cpu", "cuda"):
        settings = {
            **tiny,
            "output": {"store": str(tmp_path / f"{device}.zarr")},
            "cluster": {"device": device},
        }
        found[device] = dj.run(dj.Run.from_dict(settings)).radius
    assert found["cuda"] == pytest.approx(found["cpu"], rel=1e-2)
