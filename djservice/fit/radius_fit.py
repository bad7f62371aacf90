"""RadiusFit: the optimisation from the first iteration to the final radius.

The module is independent of Dask: it takes a function that evaluates requests. The path is a pure
function of the gradients and every draw is keyed. A run that was killed therefore resumes from its
store, and the result is bit-identical.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np

from djservice.config.run import Run
from djservice.core.progress import DESCENT, NEWTON, PER_EVENT, Watch
from djservice.core.redact import redacted
from djservice.core.typing import Floats
from djservice.errors import NothingAcceptedError, StoreError
from djservice.evaluation.moments import Moments
from djservice.evaluation.per_event import PerEvent
from djservice.events.keys import Keys
from djservice.fit.all_events import all_events, bootstrap_error, histogram_columns
from djservice.fit.allotment import Allot, Allotment
from djservice.fit.descent import Descent, Parameter
from djservice.fit.iterations import Iterations
from djservice.fit.minibatches import HeldBack, MiniBatch, MiniBatches, some_held_back
from djservice.fit.newton import Newton, RadiusErrors
from djservice.fit.newton_steps import take_steps
from djservice.fit.optimisers import Optimiser, adam, momentum, sgd
from djservice.fit.per_event import CHOOSE, SCORE, PerEventRadii
from djservice.fit.requests import Evaluate, Request
from djservice.fit.result import Result
from djservice.fit.scan import Scan
from djservice.fit.verdict import objections, remarks
from djservice.fit.versions_fit import fit_versions, shift_errors
from djservice.store.columns import NEWTON_STEPS, SCAN
from djservice.store.run_store import Store

OPTIMISERS: dict[str, Callable[[], Optimiser]] = {"adam": adam, "momentum": momentum, "sgd": sgd}

#: From the global radius and the number of finished events to the radii of the others, by bundle.
FitEvents = Callable[[float, int], AsyncIterator[PerEventRadii]]
#: From a store and the global radius: trains and scores a model.
FitModel = Callable[[Store, float], Awaitable[None]]
#: From a radius to the sums of the Lund plane over all events.
LundSums = Callable[[float], Awaitable[Floats]]


class RadiusFit:
    """One run in progress.

    Parameters
    ----------
    run
        The configuration.
    keys
        Identities of all events, shape (event,), in the order of the input.
    evaluate
        Answers a request over all bundles, merged in their order.
    store, watch
        Store of the rows, and the receiver of the progress.
    fit_events
        Fits the radius of each event, for task per-event.
    fit_model
        Learns the radius as a function of features, or weights of particles, for the tasks
        radius-model and particle-weights.
    lund
        Sums of the Lund plane of all events at a radius; without it the store has none.
    allot
        From the spread of each event to its trees in Newton's steps; without it all have as many.
    """

    def __init__(
        self,
        run: Run,
        keys: Keys,
        evaluate: Evaluate,
        store: Store,
        watch: Watch,
        fit_events: FitEvents | None = None,
        fit_model: FitModel | None = None,
        lund: LundSums | None = None,
        allot: Allot | None = None,
    ) -> None:
        self.run, self.keys, self.evaluate, self.store, self.watch = (
            run,
            keys,
            evaluate,
            store,
            watch,
        )
        self.fit_events, self.fit_model, self.lund = fit_events, fit_model, lund
        self.allot = allot
        self.share = run.objective.held_back if run.objective is not None else 0.0
        trained = keys[~some_held_back(keys, run.seed, self.share, "objective")]
        self.minibatches = MiniBatches(trained, run.seed, run.optimiser.batch_events, self.share)
        self.parameters = learned(run)

    async def run_to_completion(self) -> Result:
        """Do the remaining work of the run, and return the result."""
        self.store.set(status="running", message="", result=None)
        try:
            radius = given_radius(self.run)
            result = await (self._search() if radius is None else self._train(radius))
        except Exception as error:
            # On a full disk the first error is the one that matters.
            with contextlib.suppress(StoreError):
                self.store.set(status="failed", message=redacted(str(error)))
            raise
        self.store.set(status="finished", message="", result=asdict(result))
        self.store.consolidate()
        return result

    async def _search(self) -> Result:
        """Find the global R, then do what the task asks for beside it."""
        descent = await self._descend()
        rigidity = descent.average[1] if len(self.parameters) > 1 else None
        self._rewind_rigidity(rigidity)
        start, by_spread = descent.average[0], self.allot is not None
        scan = Scan(self.run, self.evaluate, self.store, self.watch, start, rigidity, by_spread)
        await scan.run_to_completion()
        first = self._first_step(start, rigidity)
        allotment = Allotment(self.allot, scan, first, self.keys)
        newton = await self._newton(scan, allotment)
        radius = newton.radius
        await self._spectrum(radius, rigidity)
        await self._held_back(radius, rigidity)
        if self.run.robust.augmentations:
            await fit_versions(
                self.run, self.evaluate, self.store, self.watch, radius, rigidity, allotment.of
            )
        if self.run.task == "per-event":
            await self._per_event(radius)
        if self.fit_model is not None:
            await self.fit_model(self.store, radius)
        return self._result(descent, scan, newton)

    async def _train(self, radius: float) -> Result:
        """Train a network from a radius that is given, without the search for a global R."""
        assert self.fit_model is not None
        await self.fit_model(self.store, radius)
        values: dict[str, Any] = dict.fromkeys((f.name for f in fields(Result)), math.nan)
        values |= dict.fromkeys(("iterations", "newton_steps", "epoch_remainder"), 0)
        values |= self._joint() | {"radius": radius, "converged": False}
        return Result(**values | {"remarks": ("joint.radius is given: no global R was searched",)})

    def _joint(self) -> dict[str, float]:
        """R that was learned together with a network, and its error; NaN if not known."""
        if self.run.task != "joint":
            return {}
        names = {"joint_radius": "radius", "joint_radius_error": "radius_error"}
        known = {key: self.store.attribute("joint", name) for key, name in names.items()}
        return {key: math.nan if value is None else value for key, value in known.items()}

    async def _descend(self) -> Descent:
        """Replay the iterations in the store, then do the others."""
        settings = self.run.optimiser
        descent = Descent(
            parameters=self.parameters,
            optimiser=OPTIMISERS[settings.kind](),
            rate=settings.learning_rate,
            decay_iterations=settings.decay_iterations,
            averaging_start=settings.iterations // 2
            if settings.averaging_start is None
            else settings.averaging_start,
            tolerance=settings.tolerance,
        )

        async def evaluate(iteration: int, values: list[float]) -> Moments:
            radius, rigidity = values[0], values[1] if len(values) > 1 else None
            request = Request(
                radius,
                settings.trees,
                "train",
                iteration,
                self.minibatches.minibatch(iteration),
                parameters=self._parameter_names(rigidity),
                rigidity=rigidity,
            )
            moments = (await self.evaluate(request))[0]
            if self.run.objective is None:
                return moments
            return moments.rescaled(len(self.keys) / self.minibatches.batch)

        return await Iterations(
            self.store, "history", self.watch, DESCENT, descent, settings.iterations, evaluate
        ).run_to_completion()

    def _parameter_names(self, rigidity: float | None) -> tuple[str, ...]:
        """Parameters of the gradient in the kernels' terms; empty for R alone."""
        of_radius = "radius" if self.run.radius.reference_pt is None else "rho"
        return () if rigidity is None else (of_radius, "rigidity")

    @property
    def _of_versions(self) -> tuple[str, ...]:
        return ("robust",) if self.run.robust.augmentations else ()

    def _rewind_rigidity(self, rigidity: float | None) -> None:
        """Discard the scan and spectrum if a shorter run had learned another rigidity."""
        if rigidity is not None and self.store.attribute("scan", "rigidity") != rigidity:
            for group in ("scan", "newton", "spectrum", *self._of_versions):
                self.store.rewind(group, 0)
            self.store.set_of("scan", rigidity=rigidity)

    async def _newton(self, scan: Scan, allotment: Allotment) -> Newton:
        """Replay the Newton steps in the store, then do the others."""
        bounds = self.run.radius
        newton = Newton(scan.start, bounds.minimum, bounds.maximum, scan.curvature)
        self.watch.phase(NEWTON, NEWTON_STEPS, self.store.n_complete("newton"))

        async def step(row: int, radius: float) -> tuple[dict[str, float], Moments]:
            request = await allotment.of(replace(allotment.first, radius=radius, iteration=row))
            as_events = len(self.keys) if self.share else None
            numbers, moments, events = await all_events(
                self.evaluate, request, self.watch, as_events
            )
            allotment.hear(events)
            return numbers, moments

        end = await take_steps(newton, self.store, "newton", step, self.watch)
        self.store.rewind("newton", end)  # rows of a shorter run
        return newton

    def _first_step(self, radius: float, rigidity: float | None) -> Request:
        """The request of the first Newton step, which is over the events that choose R."""
        subset = MiniBatch(self.run.seed, 0, 0, 2**64 - 1, self.share) if self.share else None
        return Request(radius, self.run.spectrum.trees, "newton", 0, subset, rigidity=rigidity)

    async def _spectrum(self, optimum: float, rigidity: float | None) -> None:
        """Evaluate the observable over all events, and for each event.

        Its rows are the radii of :func:`spectrum_radii`.
        """
        radii = spectrum_radii(self.run, optimum)
        for row, radius in enumerate(self.store.column("spectrum", "radius")):
            if radius != radii[row]:
                self.store.rewind("spectrum", row)
                break
        done = self.store.n_complete("spectrum")
        self.watch.phase("spectrum", len(radii), done)
        for row in range(done, len(radii)):
            names = self._parameter_names(rigidity) if row == 1 else ()
            request = Request(
                radii[row],
                self.run.spectrum.trees,
                "spectrum",
                row,
                None,
                True,
                names,
                rigidity=rigidity,
            )
            numbers, moments, events = await all_events(self.evaluate, request, self.watch)
            assert isinstance(events, PerEvent)
            if names:
                slope = moments.gradient(1)
                self.store.set_of("spectrum", rigidity_gradient=[slope.value, slope.error])
            per_event = {
                "event_mean": events.mean,
                "event_error": events.mean_error,
                "event_accepted": events.accepted,
            }
            columns: dict[str, Any] = {name: [numbers[name]] for name in SCAN}
            columns |= {name: values[np.newaxis] for name, values in per_event.items()}
            if self.lund is not None:
                columns["lund"] = (await self.lund(radii[row]))[np.newaxis]
            if self.run.objective is not None:
                columns |= histogram_columns(moments)
                if row == 1:  # the optimum
                    self.store.set_of("spectrum", bootstrap_error=bootstrap_error(moments))
            if self.run.robust.augmentations and row == 1:
                errors = shift_errors(moments, self.store, optimum)
                self.store.set_of("spectrum", shift_errors=errors)
            self.store.write_rows("spectrum", row, {"radius": [radii[row]], **columns})
            self.watch.step({"radius": radii[row], **numbers, "trees": moments.trees})

    async def _held_back(self, optimum: float, rigidity: float | None) -> None:
        """Score the optimum on the events that are held back, and did not choose it."""
        place = [optimum, rigidity]
        before = self.store.attribute("spectrum", "held_back")
        if self.share == 0.0 or (before is not None and before["at"] == place):
            return
        self.store.set_of("spectrum", held_back=None)  # of a shorter run
        subset, trees = HeldBack(self.run.seed, self.share), self.run.spectrum.trees
        request = Request(optimum, trees, "held-back", 0, subset, rigidity=rigidity)
        moments = (await self.evaluate(request))[0]
        try:
            loss = moments.rescaled(len(self.keys) / max(moments.events, 1)).loss()
        except NothingAcceptedError as error:
            self.watch.say(f"held-back events: {error} They do not score the optimum.")
            return
        score = {
            "at": place,
            "events": moments.events,
            "loss": loss.value,
            "loss_error": loss.error,
        }
        self.store.set_of("spectrum", held_back=score)

    async def _per_event(self, optimum: float) -> None:
        """Fit the radius of each event, and evaluate the observable with it.

        The observable is evaluated on fresh trees and on the trees of the choice.
        """
        assert self.fit_events is not None
        if self.store.attribute("per_event", "global_radius") != optimum:  # rows of a shorter run
            self.store.rewind("per_event", 0)
            self.store.set_of("per_event", global_radius=optimum)
        done, events = self.store.n_complete("per_event"), len(self.keys)
        self.watch.phase(PER_EVENT, events, done)
        async for bundle in self.fit_events(optimum, done):
            columns = {
                "radius": bundle.radius,
                "left": bundle.left,
                "agree": bundle.agree,
                "ends": bundle.ends,
            }
            self.store.write_rows("per_event", done, columns)
            done += len(bundle.radius)
            self.watch.step(
                {"radius": float(np.median(bundle.radius)), "steps": len(bundle.radius)}
            )
        radii = self.store.column("per_event", "radius")
        section = self.run.per_event
        for row, (stream, trees) in enumerate(
            ((SCORE, section.score_trees), (CHOOSE, section.choose_trees))
        ):
            request = Request(radii, trees, stream, per_event=True)
            numbers, _, per_event = await all_events(self.evaluate, request, self.watch)
            assert isinstance(per_event, PerEvent)
            self.store.write_scores(row, {**numbers, "event_mean": per_event.mean})

    def _result(self, descent: Descent, scan: Scan, newton: Newton) -> Result:
        """The result, from the rows of all phases."""
        columns = scan.columns()
        optimum = {name: float(self.store.column("spectrum", name)[1]) for name in SCAN}
        curvature, curvature_error = scan.curvature(newton.radius)
        rigidity, slope, slope_error = math.nan, math.nan, math.nan
        if len(self.parameters) > 1:
            rigidity = descent.average[1]
            slope, slope_error = self.store.attribute("spectrum", "rigidity_gradient")
        errors = newton.errors or RadiusErrors(math.nan, math.nan, math.nan)
        against = objections(self.run, newton, curvature, optimum, columns)
        return Result(
            radius=newton.radius,
            radius_error=errors.total,
            radius_error_events=errors.events,
            radius_error_trees=errors.trees,
            radius_error_optimiser=errors.optimiser,
            gradient=optimum["gradient"],
            gradient_error=optimum["gradient_error"],
            curvature=curvature,
            curvature_error=curvature_error,
            iterations=descent.iteration,
            newton_steps=newton.evaluations,
            epoch_remainder=self.minibatches.remainder,
            converged=not against,
            rigidity=rigidity,
            rigidity_gradient=slope,
            rigidity_gradient_error=slope_error,
            **self._joint(),
            remarks=(
                *against,
                *remarks(self.run, self.store, descent, len(self.keys), self.minibatches.batch),
            ),
        )


def given_radius(run: Run) -> float | None:
    """R where a network begins that asks for no global R, or None."""
    return run.joint.radius if run.task == "joint" else None


def learned(run: Run) -> tuple[Parameter, ...]:
    """The parameters that a run learns: R, and alpha if learn_rigidity is set."""
    bounds, rigidity = run.radius, run.clustering.learn_rigidity
    radius = Parameter("R", bounds.start, bounds.minimum, bounds.maximum, positive=True)
    return (
        (radius,)
        if rigidity is None
        else (radius, Parameter("alpha", run.clustering.rigidity, *rigidity, True))
    )


def spectrum_radii(run: Run, optimum: float) -> tuple[float, ...]:
    """Rows of the spectrum: start, optimum, then the radii of the configuration."""
    return (
        run.radius.start,
        optimum,
        *(radius for radius in run.spectrum.radii if radius != run.radius.start),
    )
