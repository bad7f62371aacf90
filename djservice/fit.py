"""Fit: the optimisation from first iteration to final radius. Knows nothing of Dask: it is given "evaluate this".

The path is a pure function of the gradients, and every draw is keyed, so a run that was killed anywhere continues from
its store to the same numbers, bit for bit, as one that was not.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from djservice.config import Run, build_descents
from djservice.descent import Descent
from djservice.errors import NothingAcceptedError, RunError, StoreError
from djservice.evaluate import PerEvent
from djservice.identity import Keys
from djservice.moments import Moments
from djservice.optimisers import Optimiser, adam, momentum, sgd
from djservice.per_event import CHOOSE, SCORE, Descents, PerEventRadii
from djservice.redact import redacted
from djservice.store import HISTORY, SCAN, Store
from djservice.tasks import Answer, Request, Window, ranks

OPTIMISERS: dict[str, Callable[[], Optimiser]] = {"adam": adam, "momentum": momentum, "sgd": sgd}

#: Finished iterations are written this often; those in between would be recomputed to the same bits.
SECONDS_BETWEEN_WRITES = 1.0

Evaluate = Callable[[Request], Awaitable[Answer]]
#: Given how, the global radius and how many events are done: the radii of the other events, bundle by bundle.
FitEvents = Callable[[Descents, float, int], AsyncIterator[PerEventRadii]]


class Watch(Protocol):
    """What a fit tells while it goes on."""

    def phase(self, name: str, total: int, done: int) -> None:
        """A phase begins: so many steps, of which some are done already."""

    def step(self, numbers: dict[str, float]) -> None:
        """A step of the phase is done."""

    def say(self, text: str) -> None:
        """A line worth reading."""


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
        Whether the averaged radius stood still to the tolerance.
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
    """

    def __init__(
        self,
        run: Run,
        keys: Keys,
        evaluate: Evaluate,
        store: Store,
        watch: Watch,
        fit_events: FitEvents | None = None,
    ) -> None:
        self.run, self.keys, self.evaluate, self.store, self.watch = run, keys, evaluate, store, watch
        self.fit_events = fit_events
        self.batch_events = min(run.optimiser.batch_events, len(keys))
        self._epoch, self._bounds = -1, np.empty(0, np.uint64)

    async def complete(self) -> Result:
        """Do what is left to do, and return the result."""
        self.store.set(status="running", message="", result=None)
        try:
            descent = await self._descend()
            await self._scan()
            await self._spectrum(descent.average)
            if self.run.task == "per-event":
                await self._per_event(descent.average)
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
        settings, radius = self.run.optimiser, self.run.radius
        descent = Descent(
            optimiser=OPTIMISERS[settings.kind](),
            rate=settings.learning_rate,
            decay_iterations=settings.decay_iterations,
            start=radius.start,
            minimum=radius.minimum,
            maximum=radius.maximum,
            averaging_start=settings.iterations // 2 if settings.averaging_start is None else settings.averaging_start,
            tolerance=settings.tolerance,
        )
        self._replay(descent)
        self.watch.phase("optimise", settings.iterations, descent.iteration)
        rows: list[dict[str, float]] = []
        written = time.monotonic()
        try:
            while descent.iteration < settings.iterations and not descent.converged:
                rows.append(await self._iterate(descent))
                self.watch.step(rows[-1])
                if time.monotonic() - written > SECONDS_BETWEEN_WRITES:
                    self._write_history(rows)
                    rows, written = [], time.monotonic()
        finally:
            self._write_history(rows)
        return descent

    def _replay(self, descent: Descent) -> None:
        """Take the steps of the iterations that are in the store."""
        radii, gradients, stored = (self.store.column("history", n) for n in ("radius", "gradient", "radius_average"))
        averages = []
        for iteration, (radius, gradient) in enumerate(zip(radii, gradients, strict=True)):
            if descent.converged:  # sooner than before, as the average starts at another iteration
                self.store.rewind("history", iteration)
                break
            if radius != descent.radius:
                raise StoreError(
                    f"{self.store.path}: iteration {iteration} was at R = {radius!r}, and replaying the gradients gives "
                    f"{descent.radius!r}: the store was written by another version. Choose another output.store."
                )
            descent.update(float(gradient))
            averages.append(descent.average)
        if averages != list(stored[: len(averages)]):  # with more iterations than before the average starts later
            self.store.write_rows("history", 0, {"radius_average": averages})

    async def _iterate(self, descent: Descent) -> dict[str, float]:
        """One iteration; returns its row of the history."""
        began = time.perf_counter()
        iteration, radius, rate = descent.iteration, descent.radius, descent.learning_rate
        request = Request(radius, self.run.optimiser.trees, "train", iteration, self._window(iteration))
        try:
            moments, _ = await self.evaluate(request)
            loss, gradient = moments.loss(), moments.gradient()
        except RunError as error:
            raise type(error)(f"iteration {iteration} at R = {radius:.4f}: {error}") from error
        if not math.isfinite(gradient.value):
            raise RunError(f"iteration {iteration} at R = {radius:.4f}: dL/dR is {gradient.value}.")
        descent.update(gradient.value)
        return {
            "radius": radius,
            "radius_average": descent.average,
            "loss": loss.value,
            "loss_error": loss.error,
            "gradient": gradient.value,
            "gradient_error": gradient.error,
            "acceptance": moments.acceptance,
            "learning_rate": rate,
            "seconds": time.perf_counter() - began,
            "trees": moments.trees,
            "state_share": moments.state_share / moments.events,
        }

    def _write_history(self, rows: list[dict[str, float]]) -> None:
        if rows:
            columns: dict[str, Any] = {name: [row[name] for row in rows] for name in HISTORY}
            columns["parameters"] = [[row["radius"]] for row in rows]
            self.store.write_rows("history", self.store.n_complete("history"), columns)

    def _window(self, iteration: int) -> Window:
        """The events of an iteration: the next stretch of the epoch's order; the epoch's remainder is dropped."""
        epoch, batch = divmod(iteration, len(self.keys) // self.batch_events)
        if epoch != self._epoch:
            self._epoch, self._bounds = epoch, np.sort(ranks(self.keys, self.run.seed, epoch))
        first = batch * self.batch_events
        low, high = self._bounds[first], self._bounds[first + self.batch_events - 1]
        return Window(self.run.seed, epoch, int(low), int(high))

    async def _scan(self) -> None:
        """Loss, gradient and spectrum on the grid of radii, over all events."""
        radii = self.run.scan.radii
        done = self.store.n_complete("scan")
        self.watch.phase("scan", len(radii), done)
        for row in range(done, len(radii)):
            numbers, moments, _ = await self._all_events(Request(radii[row], self.run.scan.trees, "scan", row))
            self.store.write_rows("scan", row, {name: [numbers[name]] for name in SCAN})
            self.watch.step({"radius": radii[row], **numbers, "trees": moments.trees})

    async def _spectrum(self, optimum: float) -> None:
        """The observable over all events and event by event, at the start, the optimum and the radii asked for."""
        radii = spectrum_radii(self.run, optimum)
        for row, radius in enumerate(self.store.column("spectrum", "radius")):
            if radius != radii[row]:
                self.store.rewind("spectrum", row)
                break
        done = self.store.n_complete("spectrum")
        self.watch.phase("spectrum", len(radii), done)
        for row in range(done, len(radii)):
            request = Request(radii[row], self.run.spectrum.trees, "spectrum", row, per_event=True)
            numbers, moments, events = await self._all_events(request)
            assert isinstance(events, PerEvent)
            per_event = {"event_mean": events.mean, "event_error": events.mean_error, "event_accepted": events.accepted}
            columns: dict[str, Any] = {name: [numbers[name]] for name in SCAN}
            columns |= {name: values[np.newaxis] for name, values in per_event.items()}
            self.store.write_rows("spectrum", row, {"radius": [radii[row]], **columns})
            self.watch.step({"radius": radii[row], **numbers, "trees": moments.trees})

    async def _per_event(self, optimum: float) -> None:
        """The radius of each event, and the observable with it: on fresh trees, and on those it was chosen on."""
        assert self.fit_events is not None
        if self.store.root["per_event"].attrs.get("global_radius") != optimum:  # of fewer iterations
            self.store.rewind("per_event", 0)
            self.store.root["per_event"].attrs["global_radius"] = optimum
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
            numbers, _, per_event = await self._all_events(request)
            assert isinstance(per_event, PerEvent)
            self.store.write_scores(row, {**numbers, "event_mean": per_event.mean})

    async def _all_events(self, request: Request) -> tuple[dict[str, float], Moments, PerEvent | None]:
        """The columns of a scan or spectrum, and what they come from."""
        at = "one R per event" if isinstance(request.radius, np.ndarray) else f"R = {request.radius:.4f}"
        where = f"{request.stream} at {at}"
        try:
            moments, events = await self.evaluate(request)
        except RunError as error:
            raise type(error)(f"{where}: {error}") from error
        try:
            numbers = spectrum_numbers(moments)
        except NothingAcceptedError as error:  # at a radius far off; the others are worth having
            self.watch.say(f"{where}: {error} Its row is left empty.")
            numbers = {**dict.fromkeys(SCAN, math.nan), "acceptance": moments.acceptance}
        return numbers, moments, events

    def _result(self, descent: Descent) -> Result:
        radius = descent.average
        gradient = float(self.store.column("spectrum", "gradient")[1])
        gradient_error = float(self.store.column("spectrum", "gradient_error")[1])
        scan = (self.store.column("scan", name) for name in ("radius", "loss", "loss_error"))
        curvature, curvature_error = curvature_at(radius, *scan)
        known = curvature > 0.0 and gradient_error > 0.0
        return Result(
            radius=radius,
            radius_error=gradient_error / curvature if known else math.nan,
            gradient=gradient,
            gradient_error=gradient_error,
            curvature=curvature,
            curvature_error=curvature_error,
            iterations=descent.iteration,
            epoch_remainder=len(self.keys) % self.batch_events,
            converged=descent.converged,
            remarks=tuple(self._remarks(descent, gradient, gradient_error, curvature, curvature_error)),
        )

    def _remarks(
        self, descent: Descent, gradient: float, error: float, curvature: float, curvature_error: float
    ) -> Iterator[str]:
        """What a careful reader of the result would object."""
        radius, tolerance = descent.average, self.run.optimiser.tolerance
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
        if self.batch_events < self.run.optimiser.batch_events:
            yield f"batches hold all {self.batch_events} events, fewer than optimiser.batch_events"


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
