"""Fit: the optimisation from first iteration to final radius. Knows nothing of Dask: it is given "evaluate this".

The path is a pure function of the gradients, and every draw is keyed, so a run that was killed anywhere continues from
its store to the same numbers, bit for bit, as one that was not.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from djservice.build import build_descents
from djservice.config import Run
from djservice.descent import Descent, Parameter
from djservice.errors import NothingAcceptedError, RunError, StoreError
from djservice.identity import Keys
from djservice.iterations import Iterations, Watch
from djservice.moments import Moments
from djservice.optimisers import Optimiser, adam, momentum, sgd
from djservice.per_event import CHOOSE, SCORE, Descents, PerEventRadii
from djservice.redact import redacted
from djservice.reduce import PerEvent
from djservice.store import Store
from djservice.store_shape import SCAN
from djservice.tasks import Answer, Request
from djservice.windows import Windows

OPTIMISERS: dict[str, Callable[[], Optimiser]] = {"adam": adam, "momentum": momentum, "sgd": sgd}

Evaluate = Callable[[Request], Awaitable[Answer]]
#: Given how, the global radius and how many events are done: the radii of the other events, bundle by bundle.
FitEvents = Callable[[Descents, float, int], AsyncIterator[PerEventRadii]]
#: Given the global radius: trains and scores a radius model, in the store.
FitModel = Callable[[Store, float], Awaitable[None]]


@dataclass(frozen=True)
class Result:
    """What a run found.

    Attributes
    ----------
    radius, radius_error
        The optimum: the averaged iterate, and the standard error of dL/dR there over all events divided by the
        curvature of the scan; NaN where that curvature is not positive.
    gradient, gradient_error
        dL/dR over all events at the optimum.
    curvature, curvature_error
        d^2L/dR^2 of the scan at the optimum, from a cubic through the points around it.
    iterations, epoch_remainder
        Iterations done, and events left out at the end of each pass over the sample.
    converged
        Whether the averages stood still to the tolerance.
    rigidity, rigidity_gradient, rigidity_gradient_error
        Where the rigidity is learned: its average, and dL/d alpha over all events there. R's error is then that at this
        rigidity. NaN where it is not learned.
    remarks
        What speaks against taking the optimum and its error at face value.
    """

    radius: float
    radius_error: float
    gradient: float
    gradient_error: float
    curvature: float
    curvature_error: float
    iterations: int
    epoch_remainder: int
    converged: bool
    rigidity: float = math.nan
    rigidity_gradient: float = math.nan
    rigidity_gradient_error: float = math.nan
    remarks: tuple[str, ...] = ()


class Fit:
    """One run in progress.

    Parameters
    ----------
    run
        What to do.
    keys
        Identities of all events, shape (event,), in the order of the input.
    evaluate
        Answers a request over all bundles, merged in their order.
    store, watch
        Where rows go, and who is told.
    fit_events
        Finds the radius of each event; for task per-event.
    fit_model
        Learns the radius as a function of features; for task radius-model.
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
    ) -> None:
        self.run, self.keys, self.evaluate, self.store, self.watch = run, keys, evaluate, store, watch
        self.fit_events, self.fit_model = fit_events, fit_model
        self.windows = Windows(keys, run.seed, run.optimiser.batch_events)
        self.parameters = learned(run)

    async def complete(self) -> Result:
        """Do what is left to do, and return the result."""
        self.store.set(status="running", message="", result=None)
        try:
            descent = await self._descend()
            radius, rigidity = descent.average[0], descent.average[1] if len(self.parameters) > 1 else None
            self._at_rigidity(rigidity)
            await self._scan(rigidity)
            await self._spectrum(radius, rigidity)
            if self.run.task == "per-event":
                await self._per_event(radius)
            if self.run.task == "radius-model":
                assert self.fit_model is not None
                await self.fit_model(self.store, radius)
            result = self._result(descent)
        except Exception as error:
            with contextlib.suppress(StoreError):  # on a full disk the first error is the one that matters
                self.store.set(status="failed", message=redacted(str(error)))
            raise
        self.store.set(status="finished", message="", result=asdict(result))
        self.store.consolidate()
        return result

    async def _descend(self) -> Descent:
        """The iterations: those in the store replayed, then the rest."""
        settings = self.run.optimiser
        descent = Descent(
            parameters=self.parameters,
            optimiser=OPTIMISERS[settings.kind](),
            rate=settings.learning_rate,
            decay_iterations=settings.decay_iterations,
            averaging_start=settings.iterations // 2 if settings.averaging_start is None else settings.averaging_start,
            tolerance=settings.tolerance,
        )

        async def evaluate(iteration: int, values: list[float]) -> Moments:
            radius, rigidity = values[0], values[1] if len(values) > 1 else None
            request = Request(
                radius,
                settings.trees,
                "train",
                iteration,
                self.windows.at(iteration),
                parameters=self._names(rigidity),
                rigidity=rigidity,
            )
            return (await self.evaluate(request))[0]

        return await Iterations(
            self.store, "history", self.watch, "optimise", descent, settings.iterations, evaluate
        ).complete()

    def _names(self, rigidity: float | None) -> tuple[str, ...]:
        """What the kernels differentiate in."""
        of_radius = "radius" if self.run.radius.reference_pt is None else "rho"
        return () if rigidity is None else (of_radius, "rigidity")

    def _at_rigidity(self, rigidity: float | None) -> None:
        """Forget the scan and the spectrum of another learned rigidity, of fewer iterations."""
        if rigidity is not None and self.store.attribute("scan", "rigidity") != rigidity:
            self.store.rewind("scan", 0)
            self.store.rewind("spectrum", 0)
            self.store.set_of("scan", rigidity=rigidity)

    async def _scan(self, rigidity: float | None) -> None:
        """Loss, gradient and spectrum on the grid of radii, over all events."""
        radii = self.run.scan.radii
        done = self.store.n_complete("scan")
        self.watch.phase("scan", len(radii), done)
        for row in range(done, len(radii)):
            numbers, moments, _ = await all_events(
                self.evaluate, Request(radii[row], self.run.scan.trees, "scan", row, rigidity=rigidity), self.watch
            )
            self.store.write_rows("scan", row, {name: [numbers[name]] for name in SCAN})
            self.watch.step({"radius": radii[row], **numbers, "trees": moments.trees})

    async def _spectrum(self, optimum: float, rigidity: float | None) -> None:
        """The observable over all events and event by event, at the start, the optimum and the radii asked for."""
        radii = spectrum_radii(self.run, optimum)
        for row, radius in enumerate(self.store.column("spectrum", "radius")):
            if radius != radii[row]:
                self.store.rewind("spectrum", row)
                break
        done = self.store.n_complete("spectrum")
        self.watch.phase("spectrum", len(radii), done)
        for row in range(done, len(radii)):
            names = self._names(rigidity) if row == 1 else ()
            request = Request(
                radii[row], self.run.spectrum.trees, "spectrum", row, None, True, names, rigidity=rigidity
            )
            numbers, moments, events = await all_events(self.evaluate, request, self.watch)
            assert isinstance(events, PerEvent)
            if names:
                slope = moments.gradient(1)
                self.store.set_of("spectrum", rigidity_gradient=[slope.value, slope.error])
            per_event = {"event_mean": events.mean, "event_error": events.mean_error, "event_accepted": events.accepted}
            columns: dict[str, Any] = {name: [numbers[name]] for name in SCAN}
            columns |= {name: values[np.newaxis] for name, values in per_event.items()}
            self.store.write_rows("spectrum", row, {"radius": [radii[row]], **columns})
            self.watch.step({"radius": radii[row], **numbers, "trees": moments.trees})

    async def _per_event(self, optimum: float) -> None:
        """The radius of each event, and the observable with it: on fresh trees, and on those it was chosen on."""
        assert self.fit_events is not None
        if self.store.attribute("per_event", "global_radius") != optimum:  # of fewer iterations
            self.store.rewind("per_event", 0)
            self.store.set_of("per_event", global_radius=optimum)
        done, events = self.store.n_complete("per_event"), len(self.keys)
        self.watch.phase("per event", events, done)
        async for found in self.fit_events(build_descents(self.run), optimum, done):
            columns = {"radius": found.radius, "left": found.left, "agree": found.agree, "ends": found.ends}
            self.store.write_rows("per_event", done, columns)
            done += len(found.radius)
            self.watch.step({"radius": float(np.median(found.radius)), "steps": len(found.radius)})
        radii = self.store.column("per_event", "radius")
        given = self.run.per_event
        for row, (stream, trees) in enumerate(((SCORE, given.score_trees), (CHOOSE, given.choose_trees))):
            request = Request(radii, trees, stream, per_event=True)
            numbers, _, per_event = await all_events(self.evaluate, request, self.watch)
            assert isinstance(per_event, PerEvent)
            self.store.write_scores(row, {**numbers, "event_mean": per_event.mean})

    def _result(self, descent: Descent) -> Result:
        radius = descent.average[0]
        gradient = float(self.store.column("spectrum", "gradient")[1])
        gradient_error = float(self.store.column("spectrum", "gradient_error")[1])
        scan = (self.store.column("scan", name) for name in ("radius", "loss", "loss_error"))
        curvature, curvature_error = curvature_at(radius, *scan)
        rigidity, slope, slope_error = math.nan, math.nan, math.nan
        if len(self.parameters) > 1:
            rigidity = descent.average[1]
            slope, slope_error = self.store.attribute("spectrum", "rigidity_gradient")
        known = curvature > 0.0 and gradient_error > 0.0
        return Result(
            radius=radius,
            radius_error=gradient_error / curvature if known else math.nan,
            gradient=gradient,
            gradient_error=gradient_error,
            curvature=curvature,
            curvature_error=curvature_error,
            iterations=descent.iteration,
            epoch_remainder=self.windows.remainder,
            converged=descent.converged,
            rigidity=rigidity,
            rigidity_gradient=slope,
            rigidity_gradient_error=slope_error,
            remarks=tuple(self._remarks(descent, gradient, gradient_error, curvature, curvature_error)),
        )

    def _remarks(
        self, descent: Descent, gradient: float, error: float, curvature: float, curvature_error: float
    ) -> Iterator[str]:
        """What a careful reader of the result would object."""
        radius, tolerance = descent.average[0], self.run.optimiser.tolerance
        if error == 0.0:
            yield "dL/dR is 0 in every event: at this rigidity the trees do not vary, so nothing was learned"
        elif abs(gradient) > 3.0 * error:
            yield (
                f"dL/dR at the optimum is {gradient:.4f} +- {error:.4f}, more than three standard errors from 0: "
                "use more iterations or a larger learning rate"
            )
        if not self.run.radius.minimum * 1.01 < radius < self.run.radius.maximum * 0.99:
            yield "the optimum is at a bound of the radius: widen radius.minimum and radius.maximum"
        if not curvature > 2.0 * curvature_error:
            yield (
                f"the curvature of the scan, {curvature:.3f} +- {curvature_error:.3f}, is not clearly positive, so the error of R "
                "is uncertain: scan around the optimum, or use more events or trees"
            )
        if tolerance is not None and not descent.converged:
            yield f"the averaged radius did not stand still to the tolerance of {tolerance:g}: use more iterations"
        if len(self.parameters) > 1:
            yield "the error of R is that at the learned rigidity, which itself has none"
            low, high = self.parameters[1].minimum, self.parameters[1].maximum
            if not low * 1.01 < descent.average[1] < high * 0.99:
                yield "the rigidity is at a bound of clustering.learn_rigidity"
        if self.windows.batch < self.run.optimiser.batch_events:
            yield f"batches hold all {self.windows.batch} events, fewer than optimiser.batch_events"


async def all_events(
    evaluate: Evaluate, request: Request, watch: Watch
) -> tuple[dict[str, float], Moments, PerEvent | None]:
    """The columns of a scan or spectrum, and what they come from."""
    at = f"R = {request.radius:.4f}" if isinstance(request.radius, float) else "one R per event"
    where = f"{request.stream} at {at}"
    try:
        moments, events = await evaluate(request)
    except RunError as error:
        raise type(error)(f"{where}: {error}") from error
    try:
        numbers = spectrum_numbers(moments)
    except NothingAcceptedError as error:  # at a radius far off; the others are worth having
        watch.say(f"{where}: {error} Its row is left empty.")
        numbers = {**dict.fromkeys(SCAN, math.nan), "acceptance": moments.acceptance}
    return numbers, moments, events


def learned(run: Run) -> tuple[Parameter, ...]:
    """What a run learns: R, and alpha if asked for."""
    bounds, rigidity = run.radius, run.clustering.learn_rigidity
    radius = Parameter("R", bounds.start, bounds.minimum, bounds.maximum, positive=True)
    return (radius,) if rigidity is None else (radius, Parameter("alpha", run.clustering.rigidity, *rigidity, True))


def spectrum_radii(run: Run, optimum: float) -> tuple[float, ...]:
    """Rows of the spectrum: start, optimum, then the radii asked for."""
    return (run.radius.start, optimum, *(radius for radius in run.spectrum.radii if radius != run.radius.start))


def curvature_at(radius: float, radii: Any, loss: Any, error: Any) -> tuple[float, float]:
    """d^2L/dR^2 at ``radius`` and its standard error, from :func:`curvature_fit`."""
    _, coefficients, covariance = curvature_fit(radius, radii, loss, error)
    return 2.0 * float(coefficients[1]), 2.0 * math.sqrt(float(covariance[1, 1]))


def curvature_fit(radius: float, radii: Any, loss: Any, error: Any) -> tuple[Any, Any, Any]:
    """A cubic in R - ``radius`` through the seven points of a scan nearest to it: their indices, coefficients, covariance.

    Points are weighted by their errors, which are those of independent trees on the same events; points without one are left
    out. NaN where fewer than four are left, as with a single event.
    """
    usable = np.flatnonzero(np.isfinite(error) & (error > 0.0))
    near = usable[np.argsort(np.abs(radii[usable] - radius), kind="stable")[:7]]
    if len(near) < 4:
        return near, np.full(4, np.nan), np.full((4, 4), np.nan)
    return near, *np.polyfit(radii[near] - radius, loss[near], 3, w=1.0 / error[near], cov="unscaled")


def spectrum_numbers(moments: Moments) -> dict[str, float]:
    """The columns of a scan or spectrum."""
    loss, gradient, mean, sd = moments.loss(), moments.gradient(), moments.mean(), moments.sd()
    return {
        "loss": loss.value,
        "loss_error": loss.error,
        "gradient": gradient.value,
        "gradient_error": gradient.error,
        "mean": mean.value,
        "mean_error": mean.error,
        "sd": sd.value,
        "sd_error": sd.error,
        "acceptance": moments.acceptance,
    }
