"""JointFit: train a network on the leading jet together with R, and score both on other events.

Like :mod:`djservice.fit.model_fit` this module is independent of Dask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from djservice.core.progress import SCORE, Watch
from djservice.core.typing import Floats
from djservice.errors import RunError
from djservice.evaluation.joint_gradient import JointSums
from djservice.events.keys import Keys
from djservice.fit.descent import Descent, Parameter
from djservice.fit.iterations import Iterations
from djservice.fit.minibatches import HeldBack, MiniBatches, held_back
from djservice.fit.model_fit import HELD_BACK
from djservice.fit.optimisers import radius_and_network
from djservice.fit.plan import RunPlan
from djservice.fit.requests import EvaluateJoint, Request
from djservice.store.columns import SCAN, ModelColumns
from djservice.store.run_store import Store

#: Name of the group in a store.
GROUP = "joint"
#: Random streams of the training and of the scores.
TRAIN, SCORE_STREAM = "joint", "score-joint"
#: Fewest events of each class, of those to train on and of those held back.
FEWEST = 2


@dataclass(frozen=True)
class JointSample:
    """Events of several classes, and the function that evaluates requests on them.

    Attributes
    ----------
    evaluate
        Answers a request with a network over all events, merged in their order.
    keys, weight, label
        Identities, weights and numbers of the classes, shape (event,).
    """

    evaluate: EvaluateJoint
    keys: Keys
    weight: Floats
    label: NDArray[np.int64]


class JointFit:
    """The training of a network together with R, and their scores.

    Parameters
    ----------
    plan
        The run and its objects.
    sample
        Events of the run's input. A share of them is held back.
    watch
        Receives the progress.

    Raises
    ------
    RunError
        If a class has too few events to train on, or too few that are held back, or no weight.
    """

    def __init__(self, plan: RunPlan, sample: JointSample, watch: Watch) -> None:
        self.run, self.section = plan.run, plan.run.joint
        self.network, self.sample, self.watch = plan.network, sample, watch
        share, seed = self.section.held_back, self.run.seed
        self.is_held_back: NDArray[np.bool_] = held_back(sample.keys, seed, share)
        for number, name in enumerate(self.network.classes.names):
            of_class = sample.label == number
            held = int((of_class & self.is_held_back).sum())
            kept = int(of_class.sum()) - held
            if min(held, kept) < FEWEST:
                raise RunError(
                    f"joint.classes: {name} has {kept} events to train on and {held} that are held "
                    f"back, expected {FEWEST} or more of each. Use more events of it, or another "
                    "joint.held_back."
                )
            total = float(sample.weight[of_class].sum())
            if not total > 0.0:
                raise RunError(
                    f"joint.classes: the weights of {name} sum up to {total:g}, expected more than "
                    "0. Check input.weight and the sample."
                )
        self.minibatches = MiniBatches(
            sample.keys[~self.is_held_back], seed, self.section.batch_events, share
        )

    @property
    def shape(self) -> ModelColumns:
        """The columns that the fit needs in a store."""
        held, sample = self.is_held_back, self.sample
        weight = sample.weight * np.array(self.network.classes.weights)[sample.label]
        columns = sample.keys[held], weight[held], sample.label[held].astype(np.float64)
        names = ("R", *self.network.vector.names())
        return ModelColumns(GROUP, names, self.section.iterations, {HELD_BACK: columns})

    async def run_to_completion(self, store: Store, global_radius: float) -> None:
        """Train and score the network and R, and write both to the store."""
        begin = global_radius if self.section.radius is None else self.section.radius
        # A shorter run may have left rows at another radius.
        if store.attribute(GROUP, "start_radius") != begin:
            store.rewind(GROUP, 0)
            store.set_of(GROUP, start_radius=begin, classes=[*self.network.classes.names])
        descent = await self._train(store, begin)
        radius, *theta = descent.average
        learned = {"radius": radius, "theta": theta}
        if {name: store.attribute(GROUP, name) for name in learned} != learned:
            store.rewind(f"{GROUP}/{HELD_BACK}", 0)
            store.set_of(GROUP, **learned)
        await self._score(store, (begin, radius), np.array(theta))

    async def _train(self, store: Store, begin: float) -> Descent:
        section, bounds = self.section, self.run.radius
        low, high = min(bounds.minimum, begin), max(bounds.maximum, begin)
        if not section.learn_radius:
            low = high = begin
        pace = section.radius_rate / section.learning_rate
        of_network = (
            Parameter(name, float(value))
            for name, value in zip(self.network.vector.names(), self.network.theta, strict=True)
        )
        descent = Descent(
            parameters=(Parameter("R", begin, low, high, positive=True, pace=pace), *of_network),
            optimiser=radius_and_network(section.network_steps),
            rate=section.learning_rate,
            decay_iterations=section.decay_iterations,
            averaging_start=section.iterations - max(1, section.iterations // 4),
        )

        async def evaluate(iteration: int, values: list[float]) -> JointSums:
            sums, _ = await self.sample.evaluate(
                Request(
                    values[0],
                    section.trees,
                    TRAIN,
                    iteration,
                    self.minibatches.minibatch(iteration),
                    network=replace(self.network, theta=np.array(values[1:])),
                )
            )
            return sums

        return await Iterations(
            store, GROUP, self.watch, "train", descent, section.iterations, evaluate
        ).run_to_completion()

    async def _score(self, store: Store, radii: tuple[float, float], theta: Floats) -> None:
        """Score the learned network at the R of the start and at the learned R."""
        group, held = f"{GROUP}/{HELD_BACK}", HeldBack(self.run.seed, self.section.held_back)
        network, done = replace(self.network, theta=theta), store.n_complete(group)
        self.watch.phase(SCORE, len(radii), done)
        weight = store.array(group, "weight")
        for row in range(done, len(radii)):
            request = Request(
                radii[row],
                self.section.score_trees,
                SCORE_STREAM,
                0,
                held,
                per_event=True,
                network=network,
            )
            sums, events = await self.sample.evaluate(request)
            assert events is not None
            numbers = _numbers(sums, events.probability, weight)
            columns = {name: np.array([value]) for name, value in numbers.items()}
            columns["event_mean"] = events.probability[np.newaxis]
            columns["radius"] = np.full((1, len(weight)), radii[row])
            store.write_rows(group, row, columns)
            self.watch.step({"radius": radii[row], **numbers, "trees": sums.trees})


def _numbers(sums: JointSums, probability: Floats, weight: Floats) -> dict[str, float]:
    """The columns of a scan: loss, its derivative in R, and the spread of the probability."""
    known = np.isfinite(probability)
    p, w = probability[known], weight[known] / weight[known].sum()
    mean = float(w @ p)
    variance, n = float(w @ (p - mean) ** 2), float(1.0 / (w @ w))
    loss, gradient = sums.loss(), sums.gradients()[0]
    values = (
        *(loss.value, loss.error, gradient.value, gradient.error),
        *(mean, (variance / n) ** 0.5, variance**0.5, (variance / (2.0 * n)) ** 0.5, 1.0),
        *(loss.tree_error, gradient.tree_error),
    )
    return dict(zip(SCAN, values, strict=True))
