"""WeightsFit: learn weights of particles, with R, on most events, and score them on the others.

Like :mod:`djservice.fit.model_fit` this module is independent of Dask.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.config.run import Run
from djservice.core.progress import SCORE, Watch
from djservice.core.typing import Floats
from djservice.evaluation.jumps import jumps_of
from djservice.evaluation.vector_moments import VectorMoments
from djservice.evaluation.weight_gradient import InWeights
from djservice.events.keys import Keys
from djservice.fit.all_events import write_scores
from djservice.fit.descent import Descent, radius_parameter, real_parameters
from djservice.fit.iterations import rewind_unless
from djservice.fit.minibatches import HeldBack, MiniBatches, some_held_back
from djservice.fit.optimisers import adam
from djservice.fit.plan import RunPlan
from djservice.fit.requests import Evaluate, EvaluateSlopes, Request
from djservice.fit.training import HELD_BACK, last_quarter, train
from djservice.store.columns import ModelColumns
from djservice.store.run_store import Store
from djservice.weight_models.weighting import EDGES, Weights

#: Name of the group in a store.
GROUP = "particle_weights"
#: Random streams of the training and of the scores.
TRAIN, SCORE_STREAM = "weights", "score-weights"
#: Steps of log R relative to those of the parameters of the weights.
RADIUS_PACE = 0.2


@dataclass(frozen=True)
class WeightSample:
    """Events that are prepared for a weight model, and the functions that evaluate requests.

    Attributes
    ----------
    evaluate, slopes
        Answer a request over all events, merged in their order: for its loss and spectrum, and for
        the derivatives in the parameters of the weights.
    profile
        Gives the profile of weights (:func:`djservice.weight_models.weighting.profile`).
    keys, weight, truth
        Identities, weights and true masses, shape (event,).
    """

    evaluate: Evaluate
    slopes: EvaluateSlopes
    profile: Callable[[Request], Awaitable[Floats]]
    keys: Keys
    weight: Floats
    truth: Floats


class WeightsFit:
    """The training of weights of particles, and their scores.

    Parameters
    ----------
    plan
        The run and its objects.
    sample
        Events of the run's input. A share of them is held back.
    watch
        Receives the progress.
    """

    def __init__(self, plan: RunPlan, sample: WeightSample, watch: Watch) -> None:
        self.run, self.section = plan.run, plan.run.particle_weights
        self.weighting, self.sample, self.watch = plan.weighting, sample, watch
        self.jumps = list(jumps_of(plan.loss))
        share, seed = self.section.held_back, self.run.seed
        self.is_held_back: NDArray[np.bool_] = some_held_back(sample.keys, seed, share, GROUP)
        self.minibatches = MiniBatches(
            sample.keys[~self.is_held_back], seed, self.section.batch_events, share
        )
        self.derivatives = InWeights(self.section.estimate, self.section.learn_radius)

    @property
    def shape(self) -> ModelColumns:
        """The columns that the fit needs in a store."""
        names = (*(("R",) if self.derivatives.radius else ()), *self.weighting.names)
        sample = self.sample
        keys, weight, truth = (
            column[self.is_held_back] for column in (sample.keys, sample.weight, sample.truth)
        )
        samples = {HELD_BACK: (keys, weight, truth)}
        return ModelColumns(GROUP, names, self.section.iterations, samples)

    async def run_to_completion(self, store: Store, global_radius: float) -> None:
        """Learn and score the weights, and write both to the store."""
        scores = f"{GROUP}/{HELD_BACK}"
        rewind_unless(
            store,
            GROUP,
            {"global_radius": global_radius},
            [GROUP, scores],
            estimate=self.section.estimate,
            jumps=self.jumps,
            features=[
                {"name": feature.name, "centre": feature.centre, "unit": feature.unit}
                for feature in self.weighting.features
            ],
        )
        begin = global_radius if self.section.radius is None else self.section.radius
        descent = await self._train(store, begin)
        radius, weights = self._split(descent.average, begin)
        learned = {"radius": radius, "theta": weights.theta.tolist()}
        rewind_unless(store, GROUP, learned, [scores], profile=None)
        await self._score(store, global_radius, radius, weights)

    def _split(self, values: list[float], radius: float) -> tuple[float, Weights]:
        """R and the weights of some values of the parameters; ``radius`` if R is kept."""
        if self.derivatives.radius:
            radius, values = values[0], values[1:]
        return radius, Weights(self.weighting, np.array(values))

    async def _train(self, store: Store, begin: float) -> Descent:
        section = self.section
        start = self.weighting.start(section.start, self.run.seed)
        parameters = real_parameters(self.weighting.names, start)
        if self.derivatives.radius:
            parameters = [radius_parameter(self.run.radius, begin, RADIUS_PACE), *parameters]

        async def evaluate(iteration: int, values: list[float]) -> VectorMoments:
            radius, weights = self._split(values, begin)
            return await self.sample.slopes(
                Request(
                    radius,
                    section.trees,
                    TRAIN,
                    iteration,
                    self.minibatches.minibatch(iteration),
                    weights=weights,
                    in_weights=self.derivatives,
                )
            )

        optimiser, averaged = adam(second_decay=0.95), last_quarter(section.iterations)
        return await train(
            store, GROUP, self.watch, section, parameters, optimiser, averaged, evaluate
        )

    async def _score(
        self, store: Store, global_radius: float, radius: float, weights: Weights
    ) -> None:
        """Score the best fixed R without weights, and the weights, on events that are held back."""
        group, held = f"{GROUP}/{HELD_BACK}", HeldBack(self.run.seed, self.section.held_back)
        trees, events = self.section.score_trees, int(self.is_held_back.sum())
        choices = [
            (
                Request(r, trees, SCORE_STREAM, 0, held, per_event=True, weights=chosen),
                np.full(events, r),
            )
            for r, chosen in ((global_radius, None), (radius, weights))
        ]
        self.watch.phase(SCORE, len(choices), store.n_complete(group))
        await write_scores(store, group, self.sample.evaluate, choices, self.watch)
        if store.attribute(GROUP, "profile") is None:
            request = Request(radius, 1, SCORE_STREAM, 0, held, weights=weights)
            sums = await self.sample.profile(request)
            store.set_of(GROUP, profile={"edges": EDGES.tolist(), "sums": sums.tolist()})


def weight_remarks(run: Run, store: Store) -> Iterator[str]:
    """Objections to learned weights that follow from the settings."""
    section = run.particle_weights
    for reason in store.attribute(GROUP, "jumps") or ():
        yield (
            f"the loss has {reason}: the gradient in the weights lacks that, so the weights are "
            "not those of the least loss. Use soft_dijet_mass, or soft thresholds for cuts"
        )
    if section.estimate == "pathwise":
        yield (
            "the gradient in the weights was its pathwise part, which is biased: it lacks that "
            "weights make other clusterings likely"
        )
    if any(term.kind == "squared_error" for term in run.loss):
        yield (
            "a squared_error is ruled by the few trees with other jets, so weights learn little "
            "from it: use a bounded_error"
        )
    if run.clustering.scale != "safe":
        yield (
            "on the published scale, clustering.scale: minimum, a particle of weight near 0 still "
            "moves the jets: use safe"
        )
