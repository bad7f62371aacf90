"""What is calculated where the trees are: the same numbers, and which bytes come to the host.

Nothing here needs a GPU: the processors grow the trees and leave them in arrays that refuse what CuPy's refuse.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import fake_cupy
import numpy as np
import pytest
from on_device import CUT, LOSSES, MASS, bytes_to_host, check_bits, check_sums, fake_gpu

import djservice as dj
from djservice.clustering.device_jets import DeviceJets
from djservice.clustering.on_cpu import grow_on_cpu
from djservice.clustering.sampling import Sampling
from djservice.clustering.tree_job import TreeJob
from djservice.clustering.trees import as_vectors
from djservice.core.array_module import array_module, sums_by_owner
from djservice.errors import DeviceError
from djservice.estimators.registry import ESTIMATORS
from djservice.evaluation.evaluate import EvaluationPart, evaluate, evaluate_each
from djservice.objectives.losses import Loss


def grow(job: TreeJob, gpu: Any) -> Any:
    """As grow_on_gpu, by the processors."""
    stay = array_module(job.results.scores) is gpu.arrays
    own = type(job.results)(*(np.empty(array.shape, array.dtype) for array in job.results))
    imposed = type(job.imposed)(
        *(array.host if array_module(array) is fake_cupy else array for array in job.imposed)
    )
    parts = grow_on_cpu(TreeJob(**{**vars(job), "results": own, "imposed": imposed}), 1)
    place = (lambda array: array) if stay else fake_cupy.asnumpy
    for there, array in zip(job.results, own, strict=True):
        there[...] = place(fake_cupy.asarray(array))
    owners = np.repeat(np.arange(len(own.numbers)), own.numbers[:, 3].astype(int) * job.states)
    return [
        tuple(
            place(fake_cupy.asarray(array))
            for array in (owners, *map(np.concatenate, zip(*parts, strict=True)))
        )
    ]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """There is a GPU, as far as anybody can see."""
    for module in ("clustering.device", "evaluation.evaluate"):
        monkeypatch.setattr(f"djservice.{module}.has_gpu", lambda device: device == "cuda")
    monkeypatch.setattr(
        sys.modules["djservice.clustering.cluster"],
        "gpu",
        lambda device: fake_gpu() if device == "cuda" else None,
    )
    monkeypatch.setitem(
        sys.modules, "djservice.clustering.on_gpu", SimpleNamespace(grow_on_gpu=grow)
    )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def events() -> dj.EventBatch:
    batch = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 12))
    return replace(batch, truth=np.linspace(60.0, 190.0, 12))


def same(one: Any, other: Any) -> None:
    """The same members to the bit, on the host."""
    for name in (field.name for field in fields(one)):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name), err_msg=name)


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    "estimator", [*(kind() for kind in ESTIMATORS), dj.AlternativePath(all_steps=True)], ids=str
)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_estimator_and_loss_gives_the_numbers_of_the_host(
    estimator: Any, loss: str, events: dj.EventBatch
) -> None:
    found = [
        evaluate(
            events,
            LOSSES[loss],
            estimator,
            Sampling(1.0, seed=1, device=device),
            radius=0.8,
            trees=8,
            threads=1,
        )
        for device in ("cpu", "cuda")
    ]
    for one, other in zip(*found, strict=True):
        same(one, other)
    assert found[0][0].loss().value != 0.0


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("loss", LOSSES)
def test_the_checks_of_a_gpu(loss: str, events: dj.EventBatch) -> None:
    """Those of test_gpu.py, here with the fake."""
    check_sums(events, LOSSES[loss], 0.0)
    check_bits(events, LOSSES[loss])


def crossing(events: dj.EventBatch, loss: Loss, estimator: Any, trees: int) -> int:
    """Bytes that come to the host in an evaluation."""
    return bytes_to_host(
        lambda: evaluate(
            events,
            loss,
            estimator,
            Sampling(1.0, device="cuda"),
            radius=0.8,
            trees=trees,
            threads=1,
        )
    )[1]


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    "estimator", [*(kind() for kind in ESTIMATORS), dj.AlternativePath(all_steps=True)], ids=str
)
def test_what_comes_to_the_host_does_not_grow_with_the_trees(
    estimator: Any, events: dj.EventBatch
) -> None:
    few, many = (crossing(events, LOSSES["sum"], estimator, trees) for trees in (8, 80))
    if isinstance(estimator, dj.GumbelSoftmax):  # histories
        assert many > 9 * few
    elif isinstance(
        estimator, dj.AlternativePath
    ):  # which events have so many flips: 12 at most, for each of those of a tree
        assert many - few < 8 * len(events) * 40
    else:
        assert few == many
    assert few > 8 * len(events)


@pytest.mark.usefixtures("there")
def test_results_that_are_in_several_parameters_or_parts(events: dj.EventBatch) -> None:
    loss, radii = LOSSES["sum"], np.linspace(0.5, 1.0, len(events))
    jacobian = np.stack([radii, radii**2], axis=1)
    pieces = [slice(0, 5), slice(5, 6), slice(6, 12)]
    parts = [
        EvaluationPart(events.select(np.arange(12)[at]), radii[at], jacobian[at]) for at in pieces
    ]
    found: list[list[Any]] = []
    for device in ("cpu", "cuda"):
        sampling = Sampling(1.0, seed=1, device=device)  # type: ignore[arg-type]
        together = evaluate_each(parts, loss, dj.StateBaseline(), sampling, trees=8, threads=1)
        variable = evaluate(
            events,
            loss,
            dj.LeaveOneOut(),
            sampling,
            radius=dj.VariableR(30.0),
            parameters=("rigidity", "rho"),
            trees=8,
        )
        found.append([*together, variable])
    for one, other in zip(*found, strict=True):
        same(one[0], other[0])
        same(one[1], other[1])
    assert len(found[0][-1][0].gradients()) == 2


@pytest.mark.usefixtures("there")
def test_expectations(events: dj.EventBatch) -> None:
    """Of rejected trees too, and of no events."""
    for some in (events, events.select(np.arange(0))):
        one, other = (
            dj.expectation(
                some, MASS, radius=0.8, trees=20, where=dj.cuts.two_jets(40.0), device=device
            )  # type: ignore[arg-type]
            for device in ("cpu", "cuda")
        )
        same(one, other)
    assert other.mean.shape == (0,)
    few, many = (
        bytes_to_host(
            lambda trees=trees: dj.expectation(events, MASS, radius=0.8, trees=trees, device="cuda")
        )[1]  # type: ignore[misc]
        for trees in (4, 40)
    )
    assert few == many == 3 * 8 * len(events)


@pytest.mark.usefixtures("there")
def test_a_sample_is_on_the_host_unless_it_is_to_stay(events: dj.EventBatch) -> None:
    how: dict[str, Any] = {
        "radius": 0.8,
        "rigidity": 1.0,
        "trees": 3,
        "states": True,
        "flips": "all",
        "device": "cuda",
    }
    host, there = dj.cluster(events, **how), dj.cluster(events, **how, on_device=True)
    assert host.states is not None and there.states is not None
    for one, other in ((host, there), (host.states, there.states)):
        for name in {"momenta", "scores", "numbers", "flips", "tree"} & vars(one).keys():
            assert isinstance(getattr(one, name), np.ndarray) and isinstance(
                getattr(other, name), fake_cupy.ndarray
            )
            np.testing.assert_array_equal(getattr(other, name).host, getattr(one, name))
    assert isinstance(there.jets, DeviceJets) and there.n_jets.host.tolist() == host.n_jets.tolist()
    with pytest.raises(dj.errors.InputError, match="on_device is for jets"):
        dj.cluster(events, **how, on_device=True, history=True)


@dj.observable(units="GeV")
def mine(jets: Any) -> Any:
    """Such as only NumPy takes."""
    return np.asarray(np.ma.masked_invalid((jets[..., 0] + jets[..., 1]).mass).filled(0.0))


@dj.observable(units="GeV", on_device=True)
def mine_there(jets: Any) -> Any:
    return np.nan_to_num((jets[..., 0] + jets[..., 1]).mass)


@pytest.mark.usefixtures("there")
def test_own_observables_and_cuts_are_given_copies_unless_they_say_that_they_need_none(
    events: dj.EventBatch,
) -> None:
    def apart(jets: Any) -> Any:
        return jets[..., 0].deltaR(jets[..., 1]) > 0.5

    copied = dj.SquaredError(mine, target=125.0).where(CUT & dj.cuts.Cut(apart, "apart"))
    stays = dj.SquaredError(mine_there, target=125.0).where(
        CUT & dj.cuts.Cut(apart, "apart", on_device=True)
    )
    expected, one, other = (
        evaluate(
            events, loss, dj.Score(), Sampling(1.0, device=device), radius=0.8, trees=30, threads=1
        )  # type: ignore[arg-type]
        for loss, device in ((copied, "cpu"), (copied, "cuda"), (stays, "cuda"))
    )
    same(expected[0], one[0])
    same(expected[0], other[0])
    jets = len(events) * 30 * 2 * 32
    assert (
        crossing(events, copied, dj.Score(), 30) - crossing(events, stays, dj.Score(), 30)
        == 2 * jets
    )
    with pytest.raises(
        dj.errors.InputError, match=r"'mine' returned shape \(12, 3, 1\), expected \(12, 3\)"
    ):
        wrong = dj.observables.Observable(lambda jets: np.ones((12, 3, 1)), "mine")
        dj.expectation(events, wrong, radius=0.8, trees=3, device="cuda")


def test_jets_on_a_device_are_those_of_vector() -> None:
    random = np.random.default_rng(3)
    momenta = random.normal(size=(5, 4, 3, 4)) * 20.0
    momenta[..., 3] = np.sqrt((momenta[..., :3] ** 2).sum(axis=-1) + random.random((5, 4, 3)))
    momenta[0, 0, 2] = np.nan
    here, there = as_vectors(momenta), as_vectors(fake_cupy.asarray(momenta))
    assert (there.shape, there.ndim, len(there)) == (here.shape, here.ndim, len(here))
    with np.errstate(invalid="ignore"):
        for name in "px py pz E energy pt pt2 p eta rapidity phi theta mass mt et".split():  # noqa: SIM905
            np.testing.assert_array_equal(
                getattr(there, name).host, getattr(here, name), err_msg=name
            )
        for name in ("deltaR", "deltaRapidityPhi", "deltaphi", "deltaeta", "deltaangle", "dot"):
            one, other = (getattr(jets[..., 0], name)(jets[:, :, 1]) for jets in (here, there))
            np.testing.assert_array_equal(other.host, one, err_msg=name)
        pair, pair_there = here[..., 0] + 2.0 * here[..., 1], there[..., 0] + 2.0 * there[..., 1]
        boosted = [
            jets[..., 0].boostCM_of_p4(both) for jets, both in ((here, pair), (there, pair_there))
        ]
    np.testing.assert_array_equal(pair_there.mass.host, pair.mass)
    np.testing.assert_array_equal(boosted[1].px.host, boosted[0].px)
    assert (
        pair_there[:, np.newaxis].shape == (5, 1, 4)
        and [one.shape for one in there] == [(4, 3)] * 5
    )
    copied = there.on_host()
    assert type(copied) is type(here)
    np.testing.assert_array_equal(
        [copied.px, copied.py, copied.pz, copied.E], [here.px, here.py, here.pz, here.E]
    )


def test_sums_of_stretches_are_those_of_bincount() -> None:
    random = np.random.default_rng(4)
    for owners, most in ((0, 1), (1, 1), (7, 2), (50, 30)):
        owner = np.repeat(np.arange(owners), random.integers(0, most, owners))
        values = random.normal(size=len(owner)) * 10.0 ** random.integers(-8, 8, len(owner))
        found = sums_by_owner(fake_cupy.asarray(values), fake_cupy.asarray(owner), owners)
        np.testing.assert_array_equal(found.host, np.bincount(owner, values, owners))


def test_the_class_refuses_what_cupy_refuses() -> None:
    """Else the tests above would show nothing."""
    there, here = fake_cupy.zeros(3), np.zeros(3)
    for work in (
        lambda: np.asarray(there), lambda: there + here, lambda: here + there, lambda: np.where(there > 0, here, 0.0),
        lambda: np.stack([there, here]), lambda: here.__setitem__(0, there), lambda: there.__setitem__(np.s_[:], here),
        lambda: np.divide(there, there, out=fake_cupy.zeros(3), where=there > 0), lambda: there.max(initial=0.0),
        lambda: np.add.at(there, fake_cupy.arange(2), 1.0), lambda: np.bincount(fake_cupy.arange(3), there),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            work()
    found, crossed = bytes_to_host(
        lambda: (float(there.sum()), bool((there == 0).all()), fake_cupy.asnumpy(there).tolist())
    )
    assert found == (0.0, True, [0.0] * 3) and crossed == 8 + 1 + 24


@pytest.mark.usefixtures("there")
def test_the_spectrum_of_a_coffea_processor() -> None:
    """Takes one number and one bit of each tree."""
    from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

    class Schema(NanoAODSchema):
        warn_missing_crossrefs = False

    path = dj.examples.path("ZHllbb_200")
    place = {"dataset": "ZH", "filename": path, "entrystart": 0, "entrystop": 12}
    open_ = NanoEventsFactory.from_root
    chunk = open_(
        {path: "Events"}, entry_stop=12, schemaclass=Schema, metadata=place, mode="virtual"
    ).events()
    setting: dict[str, Any] = {"radius": 0.7, "pt_min": 2.0, "estimator": dj.LeaveOneOut()}

    def spectrum(device: Any, trees: int) -> Any:
        return dj.RadiusProcessor(
            LOSSES["squared error"], trees=trees, device=device, **setting
        ).process(chunk)["ZH"]["spectrum"]

    found, few = bytes_to_host(lambda: spectrum("cuda", 4))
    assert found == spectrum("cpu", 4) and found.sum().value > 0
    assert bytes_to_host(lambda: spectrum("cuda", 8))[1] - few == 12 * 4 * (8 + 1)


@pytest.mark.usefixtures("there")
def test_a_memory_that_is_too_small_for_the_sums_is_said(
    monkeypatch: pytest.MonkeyPatch, events: dj.EventBatch
) -> None:
    def full(*given: Any) -> Any:
        raise MemoryError("Out of memory allocating 1,024 bytes.")

    monkeypatch.setattr("djservice.evaluation.evaluate.reduce_events", full)
    too_small = r"8 trees of each of 12 events, with their sums, do not fit .* 1,024 bytes\. Take fewer .*device='cpu'"
    with pytest.raises(DeviceError, match=too_small):
        dj.gradient(events, LOSSES["squared error"], radius=0.8, trees=8, device="cuda")
    with pytest.raises(MemoryError, match=r"1,024 bytes\.$"):
        dj.gradient(events, LOSSES["squared error"], radius=0.8, trees=8, device="cpu")


@pytest.mark.usefixtures("there")
def test_a_memory_that_is_too_small_for_trees_is_said(
    monkeypatch: pytest.MonkeyPatch, events: dj.EventBatch
) -> None:
    def full(*given: Any) -> Any:
        raise MemoryError("Out of memory allocating 1,024 bytes.")

    monkeypatch.setattr(fake_cupy, "empty", full)
    with pytest.raises(
        DeviceError, match=r"^3 trees of each of 12 events do not fit .* 1,024 bytes\. Take fewer"
    ):
        dj.cluster(events, radius=0.8, rigidity=1.0, trees=3, device="cuda", on_device=True)
