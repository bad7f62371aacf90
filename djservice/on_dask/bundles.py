"""Events on a Dask cluster, as bundles that are loaded once and evaluated together.

The run alone determines the bundles, and sums are added in their order. The result therefore has
the same bits for any number of workers and threads. A bundle is the future of a loading task: if
its worker dies, Dask reads it again on another one.
"""

from __future__ import annotations

import functools
import itertools
import operator
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import cloudpickle
import numpy as np
from distributed import Client, Future
from numpy.typing import NDArray

from djservice.analysis.emission_sums import EmissionSums
from djservice.core.progress import Watch
from djservice.core.provenance import versions
from djservice.core.typing import Floats
from djservice.errors import SchemaError
from djservice.evaluation.joint_gradient import JointEvents
from djservice.evaluation.moments import Moments
from djservice.evaluation.per_event import concatenated
from djservice.evaluation.targets import Classes
from djservice.evaluation.vector_moments import VectorMoments
from djservice.events.emissions import Kind
from djservice.events.keys import Keys
from djservice.fit.per_event import PerEventRadii, PerEventSettings
from djservice.fit.plan import RunPlan
from djservice.fit.requests import Answer, JointAnswer, Request, RunSetup
from djservice.input.files import InputFile
from djservice.input.quarantine import BadRange
from djservice.lund_planes.selected_jets import LundWeighting
from djservice.on_dask.answers import answers_of, hearing
from djservice.on_dask.augment import augment
from djservice.on_dask.balance import cost, groups, idle_text, with_trees
from djservice.on_dask.crew import Crew
from djservice.on_dask.gpu_workers import GPU, device_of, gpus
from djservice.on_dask.held import Held
from djservice.on_dask.load import load
from djservice.on_dask.lund import weigh
from djservice.on_dask.plugins import compile_kernels
from djservice.on_dask.rehearsal import rehearsals_of
from djservice.on_dask.tasks import (
    Shares,
    bundle_features,
    classes_of,
    emission_bundle,
    evaluate_bundles,
    evaluate_timed,
    fit_bundle,
    in_threads,
    joint_bundles,
    lund_of,
    prepared_bundle,
    weight_profile,
    weight_slopes,
)
from djservice.radius_models.features import Feature
from djservice.weight_models.weighting import Weighting

#: Size in bytes from which a pickled setup is sent once and not with each task.
LARGE_SETUP = 20_000


class Bundles:
    """All events of a run on the workers of a cluster. Make one with :meth:`load`.

    Attributes
    ----------
    inputs
        Input files with their identities.
    keys
        Identities of all events, shape (event,), in bundle order.
    weight
        Weights of all events, shape (event,), normalised if their dataset is.
    truth
        True masses of all events in GeV, shape (event,), NaN where unknown.
    identity
        The columns of :data:`djservice.store.meanings.IDENTITY` of all events.
    sizes, costs
        Number of events and relative cost of each bundle.
    bad
        Bad inputs that are left out, if the run allows that.
    datasets
        For a fileset, events, weights and factor of each dataset.
    device
        "cpu" or "cuda": the device that clusters.
    reading
        Summary of the reading.
    lund_weights
        How jets were weighed, or None.
    """

    def __init__(
        self,
        crew: Crew,
        setup: RunSetup,
        inputs: Sequence[InputFile],
        bundles: Sequence[Future],
        token: str,
    ) -> None:
        self.device = setup.sampling.device
        if self.device == "cuda":
            crew.also["clustering"] = GPU
        self.crew, self.inputs, self.bundles, self.token = (
            crew,
            tuple(inputs),
            list(bundles),
            token,
        )
        pickled = cloudpickle.dumps(setup)
        #: A large one, with a network, is kept by workers like a bundle, and tasks only name it. A
        #: small one is not: what many workers hold makes the scheduler weigh all of them.
        self.setup: bytes | Future = (
            crew.submit(bytes, pickled, key=f"setup-{token}")
            if len(pickled) > LARGE_SETUP
            else pickled
        )
        self.keys: Keys = np.empty(0, np.uint64)
        self.weight: NDArray[np.float64] = np.empty(0)
        self.truth: NDArray[np.float64] = np.empty(0)
        self.counts: NDArray[np.int64] = np.empty(0, np.int64)
        self.identity: dict[str, NDArray[Any]] = {}
        self.features: list[Future | None] = []
        self.bad: tuple[BadRange, ...] = ()
        self.datasets: dict[str, dict[str, Any]] = {}
        self.reading: dict[str, Any] = {}
        self.lund_weights: LundWeighting | None = None
        self.sizes: list[int] = []
        self.costs: list[float] = []
        self._groups: dict[str, list[list[int]]] | None = None
        self._threads: int | None = None
        self._count = itertools.count()
        self._held = Held()

    @property
    def versions(self) -> dict[str, str]:
        """Versions of packages, and the digest of the arithmetic of the workers that cluster."""
        return {**versions(), "arithmetic": self.crew.arithmetic}

    @classmethod
    async def load(
        cls,
        client: Client,
        plan: RunPlan,
        watch: Watch,
        name: str = "input",
        *,
        lund: bool = False,
    ) -> Bundles:
        """Read an input of a run onto the workers of ``client``, and compile their kernels.

        Parameters
        ----------
        client
            Client of the cluster.
        plan
            Plan of the run.
        watch
            Watch that shows the progress.
        name
            Name of the input's section in the configuration.
        lund
            Whether :meth:`lund` will be called.

        Raises
        ------
        DjserviceError
            If the input cannot be read, or a requested GPU is missing.
        """
        crew = await Crew.muster(client, watch)
        setup = plan.setup(await device_of(crew, plan.run))
        # Only for names of tasks, which two runs on one scheduler must not share.
        token = uuid.uuid4().hex[:12]
        loaded = await load(crew, plan.input(name), watch, token)
        if augmentations := plan.augmentations(name):
            loaded = await augment(crew, loaded, augmentations, plan.run.seed, watch, token)
        self = cls(crew, setup, loaded.inputs, loaded.bundles, token)
        self.bad, self.datasets, self.reading = loaded.bad, loaded.datasets, loaded.reading
        self.keys = np.concatenate([s.keys for s in loaded.summaries])
        weights = [s.weight for s in loaded.summaries]
        self.truth = np.concatenate([s.truth for s in loaded.summaries])
        self.counts = np.concatenate([s.counts for s in loaded.summaries])
        self.identity = loaded.identity
        self.features = [None] * len(self.bundles)
        self.sizes = [len(s.keys) for s in loaded.summaries]
        self.costs = [cost(s.counts) for s in loaded.summaries]
        # Last, so that a bad input ends the run at once.
        self.lund_weights = by = plan.lund_weights(name)
        also = rehearsals_of(plan, self.device, lund or by is not None)
        await compile_kernels(crew.admit_to_clustering(also), watch)
        if by is not None:
            self.bundles, weights = await weigh(crew, self.bundles, weights, by, watch, token)
        self.weight = np.concatenate(weights)
        slots = sum((await self._slots()).values())
        if self.device == "cuda":
            watch.say(f"trees grow on {slots} GPUs")
        if idle := idle_text(name, len(self.bundles), slots, self.reading["entries"]):
            watch.say(idle)
        return self

    async def evaluate(self, request: Request) -> Answer:
        """Evaluate a request on all bundles, one task per worker, and merge in bundle order."""
        answers: list[Answer] = await self._answers(evaluate_bundles, request)
        moments = functools.reduce(operator.add, (moments for moments, _ in answers))
        parts = [part for _, part in answers if part is not None]
        return moments, concatenated(parts) if parts else None

    async def weight_slopes(self, request: Request) -> VectorMoments:
        """Sums of a request with ``in_weights`` over all bundles, merged in bundle order."""
        answers: list[tuple[VectorMoments, None]] = await self._answers(weight_slopes, request)
        return functools.reduce(operator.add, (moments for moments, _ in answers))

    async def joint(self, request: Request) -> JointAnswer:
        """Sums of a request with a network over all bundles, merged in bundle order."""
        answers: list[JointAnswer] = await self._answers(joint_bundles, request)
        sums = functools.reduce(operator.add, (sums for sums, _ in answers))
        events = [part for _, part in answers if part is not None]
        return sums, JointEvents.concatenate(events) if events else None

    async def lund(self, radius: float) -> Floats:
        """Sums of the Lund plane over all bundles at a radius, added up in their order."""
        futures = self._of_each("lund", lund_of, self.setup, radius)
        return functools.reduce(operator.add, await self.crew.gather(futures))

    async def classes(self, classes: Classes) -> NDArray[np.int64]:
        """Number of the class of each event, shape (event,)."""
        futures = self._of_each("classes", classes_of, classes)
        return np.concatenate(await self.crew.gather(futures))

    def _of_each(
        self, name: str, task: Callable[..., Any], *arguments: Any, first: int = 0
    ) -> list[Future]:
        """A task that clusters for each bundle from number ``first`` on, in their order."""
        call = next(self._count)
        return [
            self.crew.submit(
                task, bundle, *arguments, key=f"{name}-{self.token}-{call}-{i}", work="clustering"
            )
            for i, bundle in enumerate(self.bundles)
            if i >= first
        ]

    async def _answers(self, task: Callable[..., Any], request: Request) -> list[Any]:
        """The answers of a task that evaluates a request, one for each bundle."""
        call, requests = next(self._count), self._bundle_requests(request)
        workers = await self._groups_of_workers(request.allotted)
        of_worker = [list(itertools.chain(*threads)) for threads in workers.values()]
        began = time.monotonic()
        self._held.make_room()
        with hearing(self.crew.client) as heard:
            futures = self.crew.map(
                functools.partial(in_threads, task),
                [
                    Shares(
                        tuple(map(len, threads)),
                        [requests[i] for i in numbers],
                        self.crew.client.id,
                    )
                    for threads, numbers in zip(workers.values(), of_worker, strict=True)
                ],
                [self.setup] * len(workers),
                [[self.bundles[i] for i in numbers] for numbers in of_worker],
                [
                    [self.features[i] for i in numbers] if any(self.features) else None
                    for numbers in of_worker
                ],
                key=f"evaluate-{self.token}-{call}",
                near=[*workers],
            )
            gathered: list[list[Any]] = await self.crew.watched(
                answers_of(self.crew.client, futures, heard)
            )
        if all(future.key in heard for future in futures):  # and small
            self._held.add(futures, time.monotonic() - began)
        numbers = itertools.chain(*of_worker)
        by_number = dict(zip(numbers, itertools.chain(*gathered), strict=True))
        return [by_number[i] for i in range(len(self.bundles))]

    async def _groups_of_workers(
        self, trees: NDArray[np.int64] | None = None
    ) -> dict[str, list[list[int]]]:
        """The bundles of each thread of each worker, until the number of threads changes.

        ``trees`` are those of each event, if they differ.
        """
        # The client's copy of this number is updated every two seconds.
        threads = self.crew.client.scheduler_info().get("total_threads")
        if self._groups is not None and threads == self._threads and trees is None:
            return self._groups
        of_worker = await self._slots()
        # Without workers, all bundles form one group for the first worker to come.
        if not of_worker:
            return {"": [list(range(len(self.bundles)))]}
        where = await self.crew.client.who_has(self.bundles)
        holders = [where.get(bundle.key, ()) for bundle in self.bundles]
        if trees is not None:
            return groups(with_trees(self.costs, self._of_bundles(trees)), holders, of_worker)
        self._groups, self._threads = groups(self.costs, holders, of_worker), threads
        return self._groups

    async def _slots(self) -> dict[str, int]:
        """Number of threads of each worker that clusters, or of its GPUs."""
        if self.device == "cuda":
            return await gpus(self.crew)
        return {
            worker: number
            for worker, facts in (await self.crew.workers("clustering")).items()
            if (number := facts["nthreads"]) > 0
        }

    async def find_features(
        self, features: Sequence[Feature], radius: float, power: float
    ) -> NDArray[np.float64]:
        """The features of all events, shape (event, feature); they are kept with the bundles."""
        self.features = [*self._of_each("features", bundle_features, features, radius, power)]
        parts: list[NDArray[np.float64]] = await self.crew.gather(self.features)
        return np.concatenate(parts)

    async def prepare(self, weighting: Weighting) -> None:
        """Put what a weight model sees beside the columns of the particles, on the workers.

        Raises
        ------
        SchemaError
            If some files lack a field that the model needs.
        """
        for name in weighting.fields:
            if lacking := self.reading["absent"].get(name):
                raise SchemaError(
                    f"{lacking:,} of {self.reading['entries']:,} entries have no field {name!r} of "
                    "the particles, which particle_weights needs. Name the field that it is in "
                    f"these files, as input.columns: {{{name}: ...}}, or leave out the feature."
                )
        self.bundles = self._of_each("prepared", prepared_bundle, weighting)
        self._groups = None
        # So that a feature that fails ends the run at once.
        await self.crew.gather(self._of_each("checked", len))

    async def weight_profile(self, request: Request) -> NDArray[np.float64]:
        """Profile of the weights of a request over all bundles, added up in their order."""
        futures = self._of_each("profile", weight_profile, request)
        return functools.reduce(operator.add, await self.crew.gather(futures))

    async def evaluate_timed(self, request: Request) -> tuple[Moments, float]:
        """The sums over all bundles, and their total CPU time in seconds."""
        futures = self._of_each("timed", evaluate_timed, self.setup, request)
        answers: list[tuple[Moments, float]] = await self.crew.gather(futures)
        return functools.reduce(operator.add, (moments for moments, _ in answers)), sum(
            s for _, s in answers
        )

    async def emissions(
        self, request: Request, kind: Kind, epsilons: Sequence[float]
    ) -> AsyncIterator[EmissionSums]:
        """Sums of each bundle before and after an emission in each event, in bundle order."""
        arguments = self.setup, request, kind, list(epsilons)
        for future in self._of_each("emissions", emission_bundle, *arguments):
            (sums,) = await self.crew.gather([future])
            yield sums

    async def per_event(
        self, settings: PerEventSettings, global_radius: float, done: int
    ) -> AsyncIterator[PerEventRadii]:
        """The radii of the events of each bundle, in bundle order.

        Bundles whose first event has a number below ``done`` are skipped.
        """
        first = int(np.searchsorted(np.cumsum([0, *self.sizes])[:-1], done))
        arguments = self.setup, settings, global_radius
        for future in self._of_each("per-event", fit_bundle, *arguments, first=first):
            (radii,) = await self.crew.gather([future])
            yield radii

    def _bundle_requests(self, request: Request) -> list[Request]:
        """The request for each bundle, with the radii and trees of its events if these differ."""
        per_event = {
            name: self._of_bundles(values)
            for name in ("radius", "allotted")
            if isinstance(values := getattr(request, name), np.ndarray)
        }
        if not per_event:
            return [request] * len(self.bundles)
        parts = zip(*per_event.values(), strict=True)
        return [replace(request, **dict(zip(per_event, part, strict=True))) for part in parts]

    def _of_bundles(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """Values of all events, shape (event,), by bundle."""
        return np.split(values, np.cumsum(self.sizes)[:-1])
