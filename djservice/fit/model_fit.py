"""ModelFit: train a radius model on most events and score it on the others and on further samples.

The scores are compared with those of the best fixed R. Like :mod:`djservice.fit.radius_fit` this
module is independent of Dask: every sample brings a function that evaluates requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.core.progress import SCORE, Watch
from djservice.evaluation.moments import Moments
from djservice.events.keys import Keys
from djservice.fit.all_events import write_scores
from djservice.fit.descent import Descent, real_parameters
from djservice.fit.iterations import rewind_unless
from djservice.fit.minibatches import HeldBack, MiniBatches, some_held_back
from djservice.fit.optimisers import adam
from djservice.fit.plan import RunPlan
from djservice.fit.requests import Evaluate, Request
from djservice.fit.training import HELD_BACK, train
from djservice.radius_models.prediction import Prediction, Standardiser
from djservice.store.columns import ModelColumns
from djservice.store.run_store import Store

#: Name of the group in a store.
GROUP = "radius_model"


@dataclass(frozen=True)
class Sample:
    """Events with their features, and the function that evaluates requests on them.

    Attributes
    ----------
    evaluate
        Answers a request over all events, merged in their order.
    keys, weight, truth
        Identities, weights and true masses, shape (event,).
    features
        Features of each event, shape (event, feature).
    """

    evaluate: Evaluate
    keys: Keys
    weight: NDArray[np.float64]
    truth: NDArray[np.float64]
    features: NDArray[np.float64]


class ModelFit:
    """The training of a radius model, and its scores.

    Parameters
    ----------
    plan
        The run and its objects.
    sample
        Events of the run's input. A share of them is held back.
    checks
        Further samples to score on, by name.
    watch
        Receives the progress.
    """

    def __init__(
        self, plan: RunPlan, sample: Sample, checks: Mapping[str, Sample], watch: Watch
    ) -> None:
        self.run, self.sample, self.checks, self.watch = plan.run, sample, checks, watch
        self.model = plan.model
        self.names: tuple[str, ...] = self.model.model.names(
            [feature.name for feature in plan.features]
        )
        run = self.run
        self.share = run.radius_model.held_back
        is_held_back = some_held_back(sample.keys, run.seed, self.share, GROUP)
        self.is_held_back = is_held_back
        self.scale = Standardiser.of(sample.features[~is_held_back])
        self.minibatches = MiniBatches(
            sample.keys[~is_held_back], run.seed, run.radius_model.batch_events, self.share
        )

    @property
    def shape(self) -> ModelColumns:
        """The columns that the fit needs in a store."""
        columns = (self.sample.keys, self.sample.weight, self.sample.truth)
        keys, weight, truth = (column[self.is_held_back] for column in columns)
        samples = {HELD_BACK: (keys, weight, truth)}
        samples |= {
            name: (check.keys, check.weight, check.truth) for name, check in self.checks.items()
        }
        return ModelColumns(GROUP, self.names, self.run.radius_model.iterations, samples)

    async def run_to_completion(self, store: Store, global_radius: float) -> None:
        """Train and score the model, and write both to the store."""
        mean, sd = self.scale.mean.tolist(), self.scale.sd.tolist()
        rewind_unless(store, GROUP, {"global_radius": global_radius}, [GROUP], mean=mean, sd=sd)
        descent = await self._train(store, global_radius)
        prediction = Prediction(self.model, self.scale, np.array(descent.average))
        scores = [f"{GROUP}/{name}" for name in store.samples(GROUP)]
        rewind_unless(store, GROUP, {"theta": descent.average}, scores)
        await self._score(store, global_radius, prediction)

    async def _train(self, store: Store, global_radius: float) -> Descent:
        section = self.run.radius_model
        initial = self.model.begin(self.sample.features.shape[1], global_radius, self.run.seed)

        async def evaluate(iteration: int, values: list[float]) -> Moments:
            prediction = Prediction(self.model, self.scale, np.array(values))
            minibatch = self.minibatches.minibatch(iteration)
            return (
                await self.sample.evaluate(
                    Request(prediction, section.trees, "model", iteration, minibatch)
                )
            )[0]

        parameters, averaged = real_parameters(self.names, initial), -(-section.iterations // 2)
        return await train(
            store, GROUP, self.watch, section, parameters, adam(), averaged, evaluate
        )

    async def _score(self, store: Store, global_radius: float, prediction: Prediction) -> None:
        """Score every sample with the best fixed R and with the model, on fresh trees."""
        samples = {HELD_BACK: self.sample, **self.checks}
        done = sum(store.n_complete(f"{GROUP}/{name}") for name in samples)
        self.watch.phase(SCORE, 2 * len(samples), done)
        trees = self.run.radius_model.score_trees
        for name, sample in samples.items():
            minibatch = HeldBack(self.run.seed, self.share) if name == HELD_BACK else None
            features = sample.features[self.is_held_back] if name == HELD_BACK else sample.features
            radii = (
                (global_radius, np.full(len(features), global_radius)),
                (prediction, prediction(features)[0]),
            )
            choices = [
                (Request(radius, trees, "score-model", 0, minibatch, per_event=True), of_events)
                for radius, of_events in radii
            ]
            await write_scores(store, f"{GROUP}/{name}", sample.evaluate, choices, self.watch)
