"""What is calculated where the trees are: the same numbers, and which bytes come to the host.

Nothing here needs a GPU: the processors grow the trees and leave them in arrays that refuse what CuPy's refuse.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import fake_cupy
import numpy as np
import pytest
from on_device import bytes_to_host, fake_gpu

import djservice as dj
from djservice.arrays import module_of, sums_by_owner
from djservice.device_jets import DeviceJets
from djservice.estimators import ESTIMATORS
from djservice.evaluate import Part, Sampling, evaluate, evaluate_each
from djservice.job import Job
from djservice.losses import Loss, Mean
from djservice.on_cpu import grow_on_cpu
from djservice.trees import as_vectors

MASS = dj.observables.dijet_mass
CUT = dj.cuts.two_jets(pt_min=20.0, rapidity_max=4.9) & dj.cuts.mass_below(250.0)
LOSSES: dict[str, Loss] = {
    "squared error": dj.SquaredError(MASS, target=125.0, scale=125.0).where(CUT),
    "to the truth": dj.SquaredError(MASS, scale=None).where(CUT),
    "of the mean": dj.SquaredErrorOfMean(MASS, target=125.0, scale=100.0).where(CUT),
    "an observable": Mean(dj.observables.scalar_ht(jets=40)),
    "width": dj.Width(dj.observables.leading_jet_mass).where(dj.cuts.leading_jets(1, 10.0) | ~CUT),
    "robust width": dj.RobustWidth(MASS, bins=8),
    "sum": dj.SquaredError(MASS, target=125.0).where(CUT) + 0.1 * Mean(dj.observables.jet_multiplicity(jets=40)),
}
#: What is done on the host, as docs/gpu.md says.
ON_HOST = (dj.GumbelSoftmax,)


def grow(job: Job, gpu: Any) -> Any:
    """As grow_on_gpu, by the processors."""
    stay = module_of(job.results.scores) is gpu.arrays
    own = type(job.results)(*(np.empty(array.shape, array.dtype) for array in job.results))
    given = type(job.given)(*(array.host if module_of(array) is fake_cupy else array for array in job.given))
    parts = grow_on_cpu(Job(**{**vars(job), "results": own, "given": given}), 1)
    for there, array in zip(job.results, own, strict=True):
        there[...] = fake_cupy.asarray(array) if stay else array
    states = (np.repeat(np.arange(len(own.numbers)), own.numbers[:, 3].astype(int) * job.states), *map(np.concatenate, zip(*parts, strict=True)))
    return [tuple(fake_cupy.asarray(array) if stay else array for array in states)]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """There is a GPU, as far as anybody can see."""
    for module in ("device", "evaluate"):
        monkeypatch.setattr(f"djservice.{module}.has_gpu", lambda device: device == "cuda")
    monkeypatch.setattr(sys.modules["djservice.cluster"], "gpu", lambda device: fake_gpu() if device == "cuda" else None)
    monkeypatch.setitem(sys.modules, "djservice.on_gpu", SimpleNamespace(grow_on_gpu=grow))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def events() -> dj.EventBatch:
    return dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0, truth=125.0), entries=(0, 12))


def same(one: Any, other: Any, rounding: float = 0.0) -> None:
    """The same members, arrays of NumPy."""
    for name in (field.name for field in fields(one)):
        a, b = getattr(one, name), getattr(other, name)
        if name != "layout":
            assert not isinstance(b, fake_cupy.ndarray)
            np.testing.assert_allclose(b, a, rtol=rounding, atol=rounding * np.nanmax(np.abs(a)) if np.size(a) else 0, err_msg=name)


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("estimator", [*(kind() for kind in ESTIMATORS), dj.AlternativePath(all_steps=True)], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_estimator_and_loss_gives_the_numbers_of_the_host(estimator: Any, loss: str, events: dj.EventBatch) -> None:
    found = [
        evaluate(events, LOSSES[loss], estimator, Sampling(1.0, seed=1, device=device), radius=0.8, trees=8, threads=1)
        for device in ("cpu", "cuda")
    ]
    for one, other in zip(*found, strict=True):
        same(one, other)
    assert found[0][0].gradient().value != 0.0
