"""JointFit: train a network on leading jets together with R, and score both on other events.

Like :mod:`djservice.fit.model_fit` this module is independent of Dask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.inner import inner
from djservice.core.progress import ERROR, SCORE, Watch
from djservice.core.typing import Floats
from djservice.errors import RunError
from djservice.evaluation.joint_gradient import JointSums
from djservice.evaluation.targets import Classes, Truth
from djservice.events.keys import Keys
from djservice.fit.descent import Descent, radius_parameter, real_parameters
from djservice.fit.iterations import rewind_unless
from djservice.fit.joint_error import EVALUATIONS, ErrorOfRadius, Seen
from djservice.fit.minibatches import HeldBack, MiniBatches, held_back
from djservice.fit.optimisers import radius_and_network
from djservice.fit.plan import RunPlan
from djservice.fit.requests import EvaluateJoint, JointAnswer, Request
from djservice.fit.training import HELD_BACK, last_quarter, train
from djservice.store.columns import SCAN, ModelColumns
from djservice.store.run_store import Store

#: Name of the group in a store.
GROUP = "joint"
#: Random streams of the training and of the scores.
TRAIN, SCORE_STREAM = "joint", "score-joint"
#: Fewest events of each class, of those to train on and of those held back.
FEWEST = 2
#: Attributes of the error of R; the curvature is there once it is known.
ERRORS = (
    *("radius_error", "radius_error_events", "radius_error_trees", "radius_error_optimiser"),
    *("curvature", "curvature_error"),
)


@dataclass(frozen=True)
class JointSample:
    """Events, and the function that evaluates requests on them.

    Attributes
    ----------
    evaluate
        Answers a request with a network over all events, merged in their order.
    keys, weight, label
        Identities, weights and numbers of the classes or true values, shape (event,).
    """

    evaluate: EvaluateJoint
    keys: Keys
    weight: Floats
    label: NDArray[Any]


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
    DjserviceError
        If a class, or a regression, has too few events to train on, or too few that are held back,
        or their weights add up to nothing, or the truth does not vary.
    """

    def __init__(self, plan: RunPlan, sample: JointSample, watch: Watch) -> None:
        self.run, self.section = plan.run, plan.run.joint
        self.network, self.sample, self.watch = plan.network, sample, watch
        if isinstance(self.network.target, Truth):
            target = self.network.target.scaled_to(sample.label, sample.weight)
            self.network = replace(self.network, target=target)
        self.weight = sample.weight * self.network.target.weight_of(sample.label)
        share, seed = self.section.held_back, self.run.seed
        self.is_held_back: NDArray[np.bool_] = held_back(sample.keys, seed, share)
        self._check_events()
        self.minibatches = MiniBatches(
            sample.keys[~self.is_held_back], seed, self.section.batch_events, share
        )

    def _check_events(self) -> None:
        """Refuse too few events of a class, or of a regression, and weights that are all 0."""
        target, held = self.network.target, self.is_held_back
        of_class = {"joint": np.ones(len(held), np.bool_)}
        if isinstance(target, Classes):
            of_class = {
                f"joint.classes: {name}": self.sample.label == number
                for number, name in enumerate(target.names)
            }
        for name, of in of_class.items():
            kept_events, held_events = int((of & ~held).sum()), int((of & held).sum())
            if min(kept_events, held_events) < FEWEST:
                raise RunError(
                    f"{name} has {kept_events} events to train on and {held_events} that are held "
                    f"back, expected {FEWEST} or more of each. Use more events of it, or another "
                    "joint.held_back."
                )
            if not min(self.weight[of & ~held].sum(), self.weight[of & held].sum()) > 0.0:
                raise RunError(
                    f"{name} has the weight {self.weight[of & ~held].sum():g} to train on and "
                    f"{self.weight[of & held].sum():g} held back, expected both above 0. Look at "
                    "input.weight."
                )

    @property
    def shape(self) -> ModelColumns:
        """The columns that the fit needs in a store."""
        held, sample = self.is_held_back, self.sample
        columns = sample.keys[held], self.weight[held], sample.label[held].astype(np.float64)
        names = ("R", *self.network.vector.names())
        return ModelColumns(GROUP, names, self.section.iterations, {HELD_BACK: columns})

    async def run_to_completion(self, store: Store, global_radius: float) -> None:
        """Train and score the network and R, and write both to the store."""
        begin = global_radius if self.section.radius is None else self.section.radius
        target = self.network.target
        names = [*target.names] if isinstance(target, Classes) else []
        start = {"start_radius": begin}
        rewind_unless(store, GROUP, start, [GROUP], classes=names, loss=target.kind)
        descent = await self._train(store, begin)
        radius, *theta = descent.average
        learned = {"radius": radius, "theta": theta}
        rewind_unless(store, GROUP, learned, [f"{GROUP}/{HELD_BACK}"], **dict.fromkeys(ERRORS))
        await self._score(store, (begin, radius), np.array(theta))
        if self.section.learn_radius and store.attribute(GROUP, "curvature") is None:
            gradients = store.column(GROUP, "gradients")
            slopes = gradients[-last_quarter(len(gradients)) :].mean(axis=0)
            await self._find_error(store, radius, np.array(theta), slopes)

    async def _train(self, store: Store, begin: float) -> Descent:
        section = self.section
        radius = radius_parameter(
            self.run.radius, begin, section.radius_rate / section.learning_rate
        )
        if not section.learn_radius:
            radius = replace(radius, minimum=begin, maximum=begin)
        of_network = real_parameters(self.network.vector.names(), self.network.theta)

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

        return await train(
            store,
            GROUP,
            self.watch,
            section,
            (radius, *of_network),
            radius_and_network(section.network_steps),
            last_quarter(section.iterations),
            evaluate,
        )

    async def _score(self, store: Store, radii: tuple[float, float], theta: Floats) -> None:
        """Score the learned network at the R of the start and at the learned R."""
        group, held = f"{GROUP}/{HELD_BACK}", HeldBack(self.run.seed, self.section.held_back)
        network, done = replace(self.network, theta=theta), store.n_complete(group)
        self.watch.phase(SCORE, len(radii), done)
        weight, trees = store.array(group, "weight"), self.section.score_trees
        answers: dict[float, JointAnswer] = {}  # the R of the start may be kept
        for row in range(done, len(radii)):
            if radii[row] not in answers:
                request = Request(
                    radii[row], trees, SCORE_STREAM, 0, held, per_event=True, network=network
                )
                answers[radii[row]] = await self.sample.evaluate(request)
            sums, events = answers[radii[row]]
            assert events is not None
            numbers = _numbers(sums, events.value, weight)
            columns = {name: np.array([value]) for name, value in numbers.items()}
            columns["event_mean"] = events.value[np.newaxis]
            columns["radius"] = np.full((1, len(weight)), radii[row])
            store.write_rows(group, row, columns)
            self.watch.step({"radius": radii[row], **numbers, "trees": sums.trees})

    async def _find_error(self, store: Store, radius: float, theta: Floats, slopes: Floats) -> None:
        """Write the standard error of R, unless R is at a bound."""
        section, run = self.section, self.run
        averaged = last_quarter(section.iterations)
        # About as many trees as those of the training, so that it costs as much at most.
        number = max(2 * FEWEST, section.iterations * section.batch_events // EVALUATIONS)
        subset = MiniBatches(self.sample.keys, run.seed, number).minibatch(0)
        self.watch.phase(ERROR, EVALUATIONS, 0)
        errors = await ErrorOfRadius(
            self.sample.evaluate,
            replace(self.network, theta=theta),
            radius,
            subset,
            self.weight[subset.of(self.sample.keys)],
            section.trees,
            self.watch.step,
        ).of(
            Seen(
                min(len(self.minibatches.keys), averaged * self.minibatches.batch),
                averaged * self.minibatches.batch * section.trees,
                slopes,
            )
        )
        at_bound = not run.radius.minimum * 1.01 < radius < run.radius.maximum * 0.99
        values = errors.error, errors.of_events, errors.of_trees, errors.of_optimiser
        error, of_events, of_trees, of_optimiser = (
            value if errors.determined and not at_bound else None for value in values
        )
        store.set_of(
            GROUP,
            radius_error=error,
            radius_error_events=of_events,
            radius_error_trees=of_trees,
            radius_error_optimiser=of_optimiser,
            curvature=errors.curvature,
            curvature_error=errors.curvature_error,
        )


def _numbers(sums: JointSums, value: Floats, weight: Floats) -> dict[str, float]:
    """The columns of a scan: loss, its derivative in R, and the spread of the values of events."""
    finite = np.isfinite(value)
    p, w = value[finite], weight[finite] / weight[finite].sum()
    mean = float(inner(w, p))
    variance, n = float(inner(w, (p - mean) ** 2)), float(1.0 / inner(w, w))
    loss, gradient = sums.loss(), sums.gradients()[0]
    values = (
        *(loss.value, loss.error, gradient.value, gradient.error),
        *(mean, (variance / n) ** 0.5, variance**0.5, (variance / (2.0 * n)) ** 0.5, 1.0),
        *(loss.tree_error, gradient.tree_error),
    )
    return dict(zip(SCAN, values, strict=True))
