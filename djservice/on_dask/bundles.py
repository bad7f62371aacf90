"""Events on a Dask cluster: bundles loaded once as futures, one task per thread and evaluation, sums in bundle order.

Bundles are cut by the run and never by who happens to be connected, and a sum is made in their order, so the result
has the same bits for any number of workers and threads. A bundle is the future of a loading task: when its worker
dies, Dask reads it again elsewhere.
"""

from __future__ import annotations

import functools
import itertools
import operator
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import cloudpickle
import numpy as np
from distributed import Client, Future
from numpy.typing import NDArray

from djservice.core.progress import Watch
from djservice.evaluation.moments import Moments
from djservice.evaluation.reduce import concatenated
from djservice.events.keys import Keys
from djservice.fit.per_event import PerEventRadii, PerEventSettings
from djservice.fit.plan import RunPlan
from djservice.fit.requests import Answer, Request, RunSetup
from djservice.input.files import InputFile
from djservice.input.quarantine import BadRange
from djservice.on_dask.balance import cost, groups
from djservice.on_dask.gather import gather
from djservice.on_dask.gpu_workers import GPU, device_of, gpus
from djservice.on_dask.load import load
from djservice.on_dask.plugins import compile_kernels
from djservice.on_dask.tasks import bundle_features, evaluate_bundles, evaluate_timed, fit_bundle
from djservice.radius_models.features import Feature


class Bundles:
    """All events of a run on the workers of a cluster. Make one with :meth:`load`.

    Attributes
    ----------
    inputs
        The files with their identities.
    keys
        Identities of all events, shape (event,), in bundle order.
    weight
        Their weights, normalised where their dataset is.
    truth
        Their true masses in GeV, NaN where not known.
    sizes, costs
        Events of each bundle, and what they cost in comparison.
    bad
        Inputs that are left out, where they do not end the run.
    datasets
        Of a fileset, what is known of each dataset.
    device
        Where trees grow.
    reading
        The summary of the reading.
    """

    def __init__(
        self,
        client: Client,
        setup: RunSetup,
        inputs: Sequence[InputFile],
        bundles: Sequence[Future],
        token: str,
    ) -> None:
        self.device = setup.sampling.device
        self._needs = GPU if self.device == "cuda" else None
        self.client, self.inputs, self.bundles, self.token = (
            client,
            tuple(inputs),
            list(bundles),
            token,
        )
        self.setup = cloudpickle.dumps(setup)  # once, and not for every task
        self.keys: Keys = np.empty(0, np.uint64)
        self.weight: NDArray[np.float64] = np.empty(0)
        self.truth: NDArray[np.float64] = np.empty(0)
        self.features: list[Future | None] = []
        self.bad: tuple[BadRange, ...] = ()
        self.datasets: dict[str, dict[str, Any]] = {}
        self.reading: dict[str, Any] = {}
        self.sizes: list[int] = []
        self.costs: list[float] = []
        self._together: list[list[int]] | None = None
        self._threads: int | None = None
        self._count = itertools.count()

    @classmethod
    async def load(
        cls, client: Client, plan: RunPlan, watch: Watch, name: str = "input"
    ) -> Bundles:
        """Read an input of a run onto the workers of ``client``, which have their kernels then.

        Parameters
        ----------
        name
            Of the input's section.

        Raises
        ------
        DjserviceError
            Whatever is wrong with the input, as the reader says it.
        """
        setup = plan.setup(await device_of(client, plan.run))
        token = uuid.uuid4().hex[
            :12
        ]  # names tasks only: two runs on one scheduler must not share them
        loaded = await load(client, plan.input(name), watch, token)
        self = cls(client, setup, loaded.inputs, loaded.bundles, token)
        self.bad, self.datasets, self.reading = loaded.bad, loaded.datasets, loaded.reading
        self.keys = np.concatenate([s.keys for s in loaded.summaries])
        self.weight = np.concatenate([s.weight for s in loaded.summaries])
        self.truth = np.concatenate([s.truth for s in loaded.summaries])
        self.features = [None] * len(self.bundles)
        self.sizes = [len(s.keys) for s in loaded.summaries]
        self.costs = [cost(s.counts) for s in loaded.summaries]
        await compile_kernels(client, watch)  # not before the input is known to be good
        if self.device == "cuda":
            watch.say(f"trees grow on {sum((await gpus(client)).values())} GPUs")
        return self

    async def evaluate(self, request: Request) -> Answer:
        """Evaluate on all bundles and merge in their order; one task per thread of the cluster."""
        call, requests = next(self._count), self._shares(request)
        together = await self._groups()
        futures = [
            self.client.submit(
                evaluate_bundles,
                [self.bundles[i] for i in group],
                self.setup,
                [requests[i] for i in group],
                [self.features[i] for i in group],
                key=f"evaluate-{self.token}-{call}-{number}",
                resources=self._needs,
            )
            for number, group in enumerate(together)
        ]
        gathered: list[list[Answer]] = await gather(self.client, futures)
        by_number = dict(zip(itertools.chain(*together), itertools.chain(*gathered), strict=True))
        answers = [by_number[i] for i in range(len(self.bundles))]
        moments = functools.reduce(operator.add, (moments for moments, _ in answers))
        if not request.per_event:
            return moments, None
        return moments, concatenated([part for _, part in answers if part is not None])

    async def _groups(self) -> list[list[int]]:
        """The bundles of each thread, made anew when there are more or fewer threads than before."""
        threads = self.client.scheduler_info().get(
            "total_threads"
        )  # the client hears of it every two seconds
        if self._together is None or threads != self._threads:
            of_worker = await (gpus(self.client) if self._needs else self._processors())
            if (
                not of_worker
            ):  # all gone: whoever comes takes all there is, until there is more to share
                return [list(range(len(self.bundles)))]
            where = await self.client.who_has(self.bundles)
            holders = [where.get(bundle.key, ()) for bundle in self.bundles]
            self._together, self._threads = groups(self.costs, holders, of_worker), threads
        return self._together

    async def _processors(self) -> dict[str, int]:
        return {
            worker: number
            for worker, number in (await self.client.nthreads()).items()
            if number > 0
        }

    async def find_features(
        self, features: Sequence[Feature], radius: float, power: float
    ) -> NDArray[np.float64]:
        """Find the features of all events, shape (event, feature), and keep them beside the bundles."""
        self.features = [
            self.client.submit(
                bundle_features, bundle, features, radius, power, key=f"features-{self.token}-{i}"
            )
            for i, bundle in enumerate(self.bundles)
        ]
        parts: list[NDArray[np.float64]] = await gather(self.client, self.features)
        return np.concatenate(parts)

    async def evaluate_timed(self, request: Request) -> tuple[Moments, float]:
        """The sums over all bundles, and the CPU seconds that they took together."""
        call = next(self._count)
        futures = [
            self.client.submit(
                evaluate_timed,
                bundle,
                self.setup,
                request,
                key=f"timed-{self.token}-{call}-{i}",
                resources=self._needs,
            )
            for i, bundle in enumerate(self.bundles)
        ]
        answers: list[tuple[Moments, float]] = await gather(self.client, futures)
        return functools.reduce(operator.add, (moments for moments, _ in answers)), sum(
            s for _, s in answers
        )

    async def per_event(
        self, settings: PerEventSettings, global_radius: float, done: int
    ) -> AsyncIterator[PerEventRadii]:
        """The radii of each bundle, in their order, from the one whose first event is number ``done`` on."""
        call, first = next(self._count), np.cumsum([0, *self.sizes])
        futures = [
            self.client.submit(
                fit_bundle,
                bundle,
                self.setup,
                settings,
                global_radius,
                key=f"per-event-{self.token}-{call}-{i}",
                resources=self._needs,
            )
            for i, bundle in enumerate(self.bundles)
            if first[i] >= done
        ]
        for future in futures:
            (found,) = await gather(self.client, [future])
            yield found

    def _shares(self, request: Request) -> list[Request]:
        """The request of each bundle: its own radii, where each event has one."""
        if not isinstance(request.radius, np.ndarray):
            return [request] * len(self.bundles)
        own = np.split(request.radius, np.cumsum(self.sizes)[:-1])
        return [replace(request, radius=radii) for radii in own]
