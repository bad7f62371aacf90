"""ModelFit: train a radius model on most events, score it on the others and on further samples, beside the best fixed R.

Like :mod:`djservice.fit.radius_fit` it knows nothing of Dask: it is given "evaluate this" for every sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.core.progress import SCORE, Watch
from djservice.errors import RunError
from djservice.evaluation.moments import Moments
from djservice.evaluation.reduce import PerEvent
from djservice.events.keys import Keys
from djservice.fit.all_events import all_events
from djservice.fit.descent import Descent, Parameter
from djservice.fit.iterations import Iterations
from djservice.fit.minibatches import HeldBack, MiniBatches, held_back
from djservice.fit.optimisers import adam
from djservice.fit.plan import RunPlan
from djservice.fit.requests import Evaluate, Request
from djservice.radius_models.prediction import Prediction, Standardiser
from djservice.store.columns import SCAN, ModelColumns
from djservice.store.run_store import Store

#: The sample that the model is scored on first: events of the run's input that it is not trained on.
HELD_BACK = "held_back"


@dataclass(frozen=True)
class Sample:
    """Events with their features, and how to evaluate on them.

    Attributes
    ----------
    evaluate
        Answers a request over all events, merged in their order.
    keys, weight, truth
        Identities, weights and true masses, shape (event,).
    features
        StoreColumns (event, feature).
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
        What to do.
    sample
        The run's own input; a share of it is held back.
    checks
        Further samples to score on, by name.
    watch
        Who is told.
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
        back = held_back(sample.keys, run.seed, self.share)
        self.back = back
        if back.all() or not back.any():
            raise RunError(
                f"{int(back.sum())} of {len(back)} events are held back (radius_model.held_back is {self.share:g}): expected some to "
                "train on and some to score on. Use more events, or another share."
            )
        self.scale = Standardiser.of(sample.features[~back])
        self.minibatches = MiniBatches(
            sample.keys[~back], run.seed, run.radius_model.batch_events, self.share
        )

    @property
    def shape(self) -> ModelColumns:
        """The room that it needs in a store."""
        own, back = self.sample, self.back
        samples = {HELD_BACK: (own.keys[back], own.weight[back], own.truth[back])}
        samples |= {
            name: (sample.keys, sample.weight, sample.truth) for name, sample in self.checks.items()
        }
        return ModelColumns(self.names, self.run.radius_model.iterations, samples)

    async def complete(self, store: Store, global_radius: float) -> None:
        """Train, score, and write both."""
        if store.attribute("radius_model", "global_radius") != global_radius:  # of fewer iterations
            store.rewind("radius_model", 0)
            mean, sd = self.scale.mean.tolist(), self.scale.sd.tolist()
            store.set_of("radius_model", global_radius=global_radius, mean=mean, sd=sd)
        descent = await self._train(store, global_radius)
        prediction = Prediction(self.model, self.scale, np.array(descent.average))
        if store.attribute("radius_model", "theta") != descent.average:
            for name in store.samples:
                store.rewind(f"radius_model/{name}", 0)
            store.set_of("radius_model", theta=descent.average)
        await self._score(store, global_radius, prediction)

    async def _train(self, store: Store, global_radius: float) -> Descent:
        given = self.run.radius_model
        begin = self.model.begin(self.sample.features.shape[1], global_radius, self.run.seed)
        descent = Descent(
            parameters=tuple(
                Parameter(name, float(at)) for name, at in zip(self.names, begin, strict=True)
            ),
            optimiser=adam(),
            rate=given.learning_rate,
            decay_iterations=given.decay_iterations,
            averaging_start=given.iterations // 2,
        )

        async def evaluate(iteration: int, values: list[float]) -> Moments:
            prediction = Prediction(self.model, self.scale, np.array(values))
            minibatch = self.minibatches.at(iteration)
            return (
                await self.sample.evaluate(
                    Request(prediction, given.trees, "model", iteration, minibatch)
                )
            )[0]

        return await Iterations(
            store, "radius_model", self.watch, "train", descent, given.iterations, evaluate
        ).complete()

    async def _score(self, store: Store, global_radius: float, prediction: Prediction) -> None:
        """Every sample with the best fixed R and with the model, on trees that neither has seen."""
        samples = {HELD_BACK: self.sample, **self.checks}
        done = sum(store.n_complete(f"radius_model/{name}") for name in samples)
        self.watch.phase(SCORE, 2 * len(samples), done)
        for name, sample in samples.items():
            minibatch = HeldBack(self.run.seed, self.share) if name == HELD_BACK else None
            features = sample.features[self.back] if name == HELD_BACK else sample.features
            choices = (global_radius, prediction)
            for row in range(store.n_complete(f"radius_model/{name}"), len(choices)):
                choice = choices[row]
                request = Request(
                    choice,
                    self.run.radius_model.score_trees,
                    "score-model",
                    0,
                    minibatch,
                    per_event=True,
                )
                numbers, moments, events = await all_events(sample.evaluate, request, self.watch)
                assert isinstance(events, PerEvent)
                radius = (
                    np.full(len(features), choice)
                    if isinstance(choice, float)
                    else choice(features)[0]
                )
                columns = {column: [numbers[column]] for column in SCAN}
                store.write_rows(
                    f"radius_model/{name}",
                    row,
                    {
                        **columns,
                        "event_mean": events.mean[np.newaxis],
                        "radius": radius[np.newaxis],
                    },
                )
                self.watch.step(
                    {"radius": float(np.median(radius)), **numbers, "trees": moments.trees}
                )
