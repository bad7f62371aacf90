"""Derivatives in the parameters of weights: against all trees of tiny events, differences, and plain sums."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from every_tree import enumerate_trees
from input_tables import table

import djservice as dj
from djservice.clustering.cluster import follow_trees
from djservice.clustering.particle_cotangents import particle_cotangents
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.clustering.trees import as_vectors
from djservice.errors import RunError
from djservice.evaluation.mean_objective import evaluated, pathwise
from djservice.evaluation.moments import MomentLayout, Moments
from djservice.evaluation.vector_moments import VectorMoments
from djservice.evaluation.weight_gradient import InWeights, in_weights, weight_gradients
from djservice.events.batch import EventBatch
from djservice.objectives.pooled_statistics import PooledMean
from djservice.weight_models.builtin import Logistic
from djservice.weight_models.features import abs_eta, log_pt
from djservice.weight_models.weighting import Weighting, Weights

WEIGHTING = Weighting(Logistic(), (log_pt, abs_eta), None)
THETA = np.array([0.3, -0.4, 0.6])
LOSS = dj.BoundedError(dj.observables.dijet_mass, target=60.0, scale=60.0)
SAFE = Sampling(1.5, scale="safe", threads=1)


def tiny(event: int, copies: int = 1) -> EventBatch:
    """Four particles, prepared; copies differ in their draws."""
    pt, y, phi, mass = np.tile(
        np.array(table("exact_inputs_n4")[event]["particles_pt_y_phi_m"]), (copies, 1)
    ).T
    batch = EventBatch.from_arrays(
        pt=pt, rapidity=y, phi=phi, mass=mass, offsets=4 * np.arange(copies + 1)
    )
    return WEIGHTING.prepare(batch)


@cache
def histories(event: int) -> Any:
    return np.array(list(enumerate_trees(table("exact_inputs_n4")[event]["particles_pt_y_phi_m"])))


def all_trees(event: int, theta: Any) -> Any:
    """Weighted event, all its trees, their probabilities and losses."""
    batch = Weights(WEIGHTING, theta).apply(tiny(event))
    history = histories(event)
    request = TreeRequest(len(history), 2)
    sample = follow_trees(batch, history.reshape(-1, 2).astype(np.int32), 0.8, SAFE, request)
    loss, _ = evaluated(LOSS, as_vectors(sample.momenta), batch.truth)
    return batch, request, sample, np.exp(sample.log_prob), loss


@pytest.mark.parametrize("event", range(3))
def test_all_trees_of_tiny_events(event: int) -> None:
    """Exactly, where every tree counts with its probability; and by sampling, with the errors of the sums."""
    batch, request, sample, probability, loss = all_trees(event, THETA)
    assert probability.sum() == pytest.approx(1.0, rel=1e-12)
    expected = []
    for unit in np.eye(3) * 1e-5:
        ups, downs = (all_trees(event, THETA + s * unit) for s in (1.0, -1.0))
        expected.append(((ups[3] * ups[4]).sum() - (downs[3] * downs[4]).sum()) / 2e-5)
    jets = pathwise(LOSS, sample.momenta, batch, np.isfinite(loss))
    jets = jets * probability[..., np.newaxis, np.newaxis]
    factors = np.stack([probability * loss, np.ones_like(loss)], axis=-1)[:, :, np.newaxis]
    history = histories(event).reshape(-1, 2).astype(np.int32)
    sums, _ = particle_cotangents(
        batch, 0.8, SAFE, request, factors, jets, coordinates="pt_y_phi_m", history=history
    )
    prepared = tiny(event)
    slopes = in_weights(prepared, np.ones(4), sums)
    weights = Weights(WEIGHTING, THETA)
    found = weights.pull_back(prepared, slopes)[0, :, 0]
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-8)

    (sampled,) = weight_gradients(
        [tiny(event, 400)], weights, LOSS, SAFE, InWeights(), radius=0.8, trees=16
    )
    for quantity, exact in zip(sampled.gradients(), expected, strict=True):
        assert abs(quantity.value - exact) < 4.0 * quantity.error


def shipped(loss: Any, weights: Weights, sampling: Sampling, **more: Any) -> VectorMoments:
    given = {"radius": 0.7, "trees": 4} | more
    (sums,) = weight_gradients([events()], weights, loss, sampling, InWeights(), **given)
    return sums


@cache
def events() -> EventBatch:
    batch = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=3.0), entries=(0, 12))
    return WEIGHTING.prepare(replace(batch, weight=np.linspace(0.5, 2.0, 12)))


@pytest.mark.filterwarnings("ignore::djservice.errors.JumpWarning")
@pytest.mark.parametrize("cut", [None, dj.cuts.mass_below(110.0)])
def test_in_the_deterministic_limit_it_is_the_derivative_of_the_loss(cut: Any) -> None:
    """So the chain from jets to theta, weights of events and a selection are right."""
    loss = LOSS if cut is None else LOSS.where(cut)
    fixed = Sampling(np.inf, scale="safe", threads=1)
    sums = shipped(loss, Weights(WEIGHTING, THETA), fixed)
    for i, unit in enumerate(np.eye(3) * 1e-6):
        up, down = (
            shipped(loss, Weights(WEIGHTING, THETA + s * unit), fixed).loss().value
            for s in (1.0, -1.0)
        )
        assert sums.gradients()[i].value == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-8)


def test_the_derivative_in_r_is_that_of_other_runs() -> None:
    weights = Weights(WEIGHTING, THETA)
    (sums,) = weight_gradients(
        [events()], weights, LOSS, SAFE, InWeights("pathwise", True), radius=0.7, trees=8
    )
    (alone,) = weight_gradients(
        [events()], weights, LOSS, SAFE, InWeights("pathwise"), radius=0.7, trees=8
    )
    assert sums.gradients()[1:] == pytest.approx(alone.gradients())
    known = dj.gradient(
        weights.apply(events()), LOSS, radius=0.7, rigidity=1.5, scale="safe", trees=8,
        estimator=dj.LeaveOneOut(), threads=1,
    )  # fmt: skip
    first = sums.gradients()[0]
    assert (first.value, first.error) == pytest.approx((known.value, known.error), rel=1e-12)


def test_bits_depend_on_neither_parts_nor_threads() -> None:
    weights = Weights(WEIGHTING, THETA)

    def sums(parts: Any, threads: int) -> list[VectorMoments]:
        sampling = replace(SAFE, threads=threads)
        return weight_gradients(
            parts, weights, LOSS, sampling, InWeights("full", True), radius=0.7, trees=4
        )

    batch = events()
    parts = [batch.select(range(5)), batch.select([]), batch.select(range(5, 12))]
    together, alone = sums(parts, 2), [sums([part], 1)[0] for part in parts]
    for a, b in zip(together, alone, strict=True):
        assert (a.slopes == b.slopes).all() and (a.products == b.products).all()
        assert (a.moments.total == b.moments.total).all() and a.events == b.events


def test_sums_of_a_vector_have_the_numbers_of_full_sums() -> None:
    rng = np.random.default_rng(5)
    z, slopes = rng.uniform(0.5, 1.5, (40, 2)), rng.normal(size=(40, 3, 2))
    spectrum = rng.uniform(size=(40, 3))

    def moments(columns: Any, parameters: int) -> Moments:
        layout = MomentLayout((PooledMean(),), (1.0,), parameters)
        full = np.concatenate(columns, axis=1)
        outer = full.T @ full
        return Moments(layout, full.sum(axis=0), outer, 0 * outer, 40.0, 40, 0, 40, 40, 0.0)

    full = moments([z, slopes.reshape(40, 6), spectrum], 3)
    halves = [
        VectorMoments.of(moments([z, spectrum], 0), z[rows], slopes[rows])
        for rows in (slice(0, 20), slice(20, 40))
    ]
    vector = replace(halves[0] + halves[1], moments=halves[0].moments)
    assert vector.loss() == full.loss()
    for found, expected in zip(vector.gradients(), full.gradients(), strict=True):
        assert (found.value, found.error) == pytest.approx((expected.value, expected.error))


def test_a_derivative_that_is_not_finite_names_the_event() -> None:
    class Broken(Logistic):
        def pull_back(self, *arguments: Any) -> Any:
            return super().pull_back(*arguments) * np.nan

    weights = Weights(Weighting(Broken(), (log_pt, abs_eta), None), THETA)
    with pytest.raises(RunError, match=r"not finite in 12 events: .*entry 0"):
        shipped(LOSS, weights, SAFE)
