"""Events on a Dask cluster: bundles loaded once as futures, one task per thread and evaluation, sums in bundle order.

Bundles are cut by the run and never by who happens to be connected, and a sum is made in their order, so the result
has the same bits for any number of workers and threads. A bundle is the future of a loading task: when its worker
dies, Dask reads it again elsewhere.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import operator
import signal
import threading
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from distributed import Client, Future, KilledWorker, WorkerPlugin
from distributed.comm import CommClosedError
from numpy.typing import NDArray

from djservice.balance import cost, groups
from djservice.build import build_estimator, build_loss
from djservice.config import Input, Run
from djservice.device import Device
from djservice.errors import DjserviceError, InputError, RunError, TasksLostError
from djservice.evaluate import Sampling
from djservice.features import Feature
from djservice.gpu_workers import GPU, device_of, gpus
from djservice.identity import Keys
from djservice.iterations import Watch
from djservice.moments import Moments
from djservice.per_event import Descents, PerEventRadii
from djservice.quarantine import Bad, inspect_or_bad, read_or_bad
from djservice.read import InputFile, Segment, expand, inspect, read_segments, repeated_keys, segments, tell_apart
from djservice.reduce import PerEvent
from djservice.schemas import Schema, nanoaod, pfnanoaod
from djservice.tasks import (
    Answer,
    BundleSummary,
    Request,
    Work,
    bundle_features,
    evaluate_group,
    evaluate_timed,
    fit_bundle,
    summarise,
    warm_up,
)

SCHEMAS = {"nanoaod": nanoaod, "pfnanoaod": pfnanoaod}


def default_bundle_events(events: int) -> int:
    """Events per bundle: eight bundles of a small input, 5,000 events each of a larger one, and not more than 128 bundles."""
    return max(1, min(-(-events // 8), 5000), -(-events // 128))


class CompileKernels(WorkerPlugin):
    """Compiles the kernels on every worker when it joins, so that no iteration waits for it."""

    name = "djservice-compile"

    def setup(self, worker: Any) -> None:
        """Called by Dask on each worker."""
        warm_up()


class QuietFailures(WorkerPlugin):
    """Keeps workers of our own from saying what the driver says in one line: failed tasks, Ctrl-C, that it leaves."""

    name = "djservice-quiet-failures"

    def setup(self, worker: Any) -> None:
        """Called by Dask on each worker."""
        logging.getLogger("distributed.worker").addFilter(_worth_reading)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver too, which stops us in order


def _worth_reading(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(
        ("Compute Failed", "Failed to communicate with scheduler during heartbeat")
    )


def schema_of(given: Input) -> Schema:
    """The schema that an input section describes."""
    return SCHEMAS[given.schema_](
        given.particles,
        tree=given.tree,
        pt_min=given.pt_min,
        eta_max=given.eta_max,
        weight=given.weight,
        truth=given.truth,
    )


class Bundles:
    """All events of a run on the workers of a cluster. Make one with :meth:`load`.

    Attributes
    ----------
    inputs
        The files with their identities.
    keys
        Identities of all events, shape (event,), in bundle order.
    truth
        Their true masses in GeV, NaN where not known.
    sizes, costs
        Events of each bundle, and what they cost in comparison.
    bad
        Inputs that are left out, where they do not end the run.
    device
        Where trees grow.
    """

    def __init__(
        self, client: Client, work: Work, inputs: Sequence[InputFile], bundles: Sequence[Future], token: str
    ) -> None:
        self.device = work.sampling.device
        self._needs = GPU if self.device == "cuda" else None
        self.client, self.inputs, self.bundles, self.token = client, tuple(inputs), list(bundles), token
        self.work = cloudpickle.dumps(work)  # once, and not for every task
        self.keys: Keys = np.empty(0, np.uint64)
        self.truth: NDArray[np.float64] = np.empty(0)
        self.features: list[Future | None] = []
        self.bad: tuple[Bad, ...] = ()
        self.sizes: list[int] = []
        self.costs: list[float] = []
        self._together: list[list[int]] | None = None
        self._threads: int | None = None
        self._count = itertools.count()

    @classmethod
    async def load(cls, client: Client, run: Run, watch: Watch) -> Bundles:
        """Read the input of ``run`` onto the workers of ``client``.

        Raises
        ------
        DjserviceError
            Whatever is wrong with the input, as the reader says it.
        """
        began = time.perf_counter()
        schema, work = schema_of(run.input), cls._work(run, await device_of(client, run))
        token = uuid.uuid4().hex[:12]  # names tasks only: two runs on one scheduler must not share them
        paths = expand(run.input.files)
        lenient = run.input.bad_inputs == "quarantine"
        look = inspect_or_bad if lenient else inspect
        inspected = [client.submit(look, path, schema, key=f"inspect-{token}-{i}") for i, path in enumerate(paths)]
        found: list[InputFile | Bad] = await _gather(client, inspected)
        inputs = [file for file in found if isinstance(file, InputFile)]
        bad = [file for file in found if isinstance(file, Bad)]
        if not inputs:
            raise InputError(f"none of {len(bad)} files can be read; the first: {bad[0].reason}")
        events = sum(file.entries for file in inputs)
        first, last = run.input.entries or (0, events)
        size = run.input.bundle_events or default_bundle_events(last - first)
        cut = segments(inputs, run.input.entries, size)
        if not cut:
            raise InputError(f"{', '.join(paths)}: no events to read.")
        self = cls(client, work, inputs, [], token)
        self.bundles = [self._read(i, part, schema, run.input.dataset, lenient) for i, part in enumerate(cut)]
        if lenient:  # each is a batch and what was left out of it
            pairs = self.bundles
            self.bundles = [
                client.submit(operator.itemgetter(0), pair, key=f"good-{token}-{i}") for i, pair in enumerate(pairs)
            ]
            left_out = [
                client.submit(operator.itemgetter(1), pair, key=f"bad-{token}-{i}") for i, pair in enumerate(pairs)
            ]
            bad += [each for some in await _gather(client, left_out) for each in some]
            for each in bad:
                watch.say(f"left out: {each}")
        self.bad = tuple(bad)
        summaries = await self._summaries("summary")
        repeated = repeated_keys(np.concatenate([s.keys for s in summaries]))
        if len(repeated):
            watch.say(
                f"{len(repeated)} event identities occur more than once; those events are told apart by file and entry"
            )
            self.bundles = [
                client.submit(tell_apart, bundle, repeated, key=f"bundle-{token}-{i}")
                for i, bundle in enumerate(self.bundles)
            ]
            summaries = await self._summaries("summary-apart")
        self.keys = np.concatenate([s.keys for s in summaries])
        self.truth = np.concatenate([s.truth for s in summaries])
        self.features = [None] * len(self.bundles)
        self.sizes = [len(s.keys) for s in summaries]
        self.costs = [cost(s.counts) for s in summaries]
        if len(repeated_keys(self.keys)):
            raise InputError(
                f"{', '.join(paths)}: two files of the same name hold the same entries; rename one, or name it once."
            )
        counts = np.concatenate([s.counts for s in summaries])
        if len(counts) == 0:
            raise InputError(f"{', '.join(paths)}: no event can be read; the first: {bad[0].reason}")
        without = int((counts == 0).sum())
        if self.device == "cuda":
            watch.say(f"trees grow on {sum((await gpus(client)).values())} GPUs")
        watch.say(
            f"read {len(counts):,} events of {len(inputs)} file{'s' * (len(inputs) > 1)}: {counts.mean():.1f} particles each "
            f"(median {np.median(counts):.0f}, at most {counts.max()}){f', {without} without any' * (without > 0)}; "
            f"{sum(s.nbytes for s in summaries) / 1e6:.1f} MB in {len(self.bundles)} bundles; {time.perf_counter() - began:.1f} s"
        )
        return self

    async def evaluate(self, request: Request) -> Answer:
        """Evaluate on all bundles and merge in their order; one task per thread of the cluster."""
        call, requests = next(self._count), self._shares(request)
        together = await self._groups()
        futures = [
            self.client.submit(
                evaluate_group,
                [self.bundles[i] for i in group],
                self.work,
                [requests[i] for i in group],
                [self.features[i] for i in group],
                key=f"evaluate-{self.token}-{call}-{number}",
                resources=self._needs,
            )
            for number, group in enumerate(together)
        ]
        gathered: list[list[Answer]] = await _gather(self.client, futures)
        by_number = dict(zip(itertools.chain(*together), itertools.chain(*gathered), strict=True))
        answers = [by_number[i] for i in range(len(self.bundles))]
        moments = functools.reduce(operator.add, (moments for moments, _ in answers))
        if not request.per_event:
            return moments, None
        parts = [part for _, part in answers if part is not None]
        fields = PerEvent.__dataclass_fields__
        return moments, PerEvent(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))

    async def _groups(self) -> list[list[int]]:
        """The bundles of each thread, made anew when there are more or fewer threads than before."""
        threads = self.client.scheduler_info().get("total_threads")  # the client hears of it every two seconds
        if self._together is None or threads != self._threads:
            of_worker = await (gpus(self.client) if self._needs else self._processors())
            if not of_worker:  # all gone: whoever comes takes all there is, until there is more to share
                return [list(range(len(self.bundles)))]
            where = await self.client.who_has(self.bundles)
            holders = [where.get(bundle.key, ()) for bundle in self.bundles]
            self._together, self._threads = groups(self.costs, holders, of_worker), threads
        return self._together

    async def _processors(self) -> dict[str, int]:
        return {worker: number for worker, number in (await self.client.nthreads()).items() if number > 0}

    async def find_features(self, features: Sequence[Feature], radius: float, power: float) -> NDArray[np.float64]:
        """Find the features of all events, shape (event, feature), and keep them beside the bundles."""
        self.features = [
            self.client.submit(bundle_features, bundle, features, radius, power, key=f"features-{self.token}-{i}")
            for i, bundle in enumerate(self.bundles)
        ]
        parts: list[NDArray[np.float64]] = await _gather(self.client, self.features)
        return np.concatenate(parts)

    async def evaluate_timed(self, request: Request) -> tuple[Moments, float]:
        """The sums over all bundles, and the CPU seconds that they took together."""
        call = next(self._count)
        futures = [
            self.client.submit(
                evaluate_timed, bundle, self.work, request, key=f"timed-{self.token}-{call}-{i}", resources=self._needs
            )
            for i, bundle in enumerate(self.bundles)
        ]
        answers: list[tuple[Moments, float]] = await _gather(self.client, futures)
        return functools.reduce(operator.add, (moments for moments, _ in answers)), sum(s for _, s in answers)

    async def per_event(self, descents: Descents, global_radius: float, done: int) -> AsyncIterator[PerEventRadii]:
        """The radii of each bundle, in their order, from the one whose first event is number ``done`` on."""
        call, first = next(self._count), np.cumsum([0, *self.sizes])
        futures = [
            self.client.submit(
                fit_bundle,
                bundle,
                self.work,
                descents,
                global_radius,
                key=f"per-event-{self.token}-{call}-{i}",
                resources=self._needs,
            )
            for i, bundle in enumerate(self.bundles)
            if first[i] >= done
        ]
        for future in futures:
            (found,) = await _gather(self.client, [future])
            yield found

    def _shares(self, request: Request) -> list[Request]:
        """The request of each bundle: its own radii, where each event has one."""
        if not isinstance(request.radius, np.ndarray):
            return [request] * len(self.bundles)
        own = np.split(request.radius, np.cumsum(self.sizes)[:-1])
        return [replace(request, radius=radii) for radii in own]

    def _read(self, i: int, part: tuple[Segment, ...], schema: Schema, dataset: str, lenient: bool) -> Future:
        read = read_or_bad if lenient else read_segments
        return self.client.submit(read, part, schema, dataset, key=f"read-{self.token}-{i}")

    async def _summaries(self, prefix: str) -> list[BundleSummary]:
        summaries = [
            self.client.submit(summarise, bundle, key=f"{prefix}-{self.token}-{i}")
            for i, bundle in enumerate(self.bundles)
        ]
        gathered: list[BundleSummary] = await _gather(self.client, summaries)
        return gathered

    @staticmethod
    def _work(run: Run, device: Device) -> Work:
        how = run.clustering
        sampling = Sampling(how.rigidity, how.power, how.scale, how.asymmetry, run.seed, device)
        given = run.radius
        return Work(build_loss(run), build_estimator(run), sampling, given.reference_pt, given.reach)


async def _gather(client: Client, futures: Sequence[Future | None]) -> Any:
    """The results of tasks; whatever goes wrong as one clear error."""
    try:
        return await client.gather(futures)
    except asyncio.CancelledError:  # by a signal: Dask leaves a task behind whose failure nobody will ask for
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        raise
    except DjserviceError:
        raise
    except KilledWorker as error:
        raise RunError(
            f"{error.allowed_failures + 1} workers died on the task {error.task}, so it was given up. Their logs may say why; "
            "where memory ran out, give them more, or choose smaller bundles (input.bundle_events)."
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise TasksLostError(
            f"the Dask scheduler is gone or dropped our tasks ({' '.join(str(error).split())}). The same command goes on from the store."
        ) from error
    except Exception as error:  # of an observable or a cut
        place = traceback.extract_tb(error.__traceback__)[-1]
        file = Path(place.filename).name  # none where a function came pickled by value
        where = f"{place.name}, line {place.lineno}" + (f" of {file}" if not file.startswith("<") else "")
        raise RunError(
            f"{type(error).__name__} on a worker in {where}: {' '.join(str(error).split())}. "
            "Is it raised by an observable or a cut of your own?"
        ) from error
