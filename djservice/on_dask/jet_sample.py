"""JetSample: the jets or events of an input on the workers of a cluster, and a table of them."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from distributed import Client, Future

from djservice.config.jets import JetsDocument
from djservice.core.progress import Watch
from djservice.core.provenance import code_hash, versions
from djservice.core.typing import Floats
from djservice.core.urls import basename
from djservice.errors import RunError
from djservice.events.augment import Augmentation
from djservice.input.plan import InputPlan
from djservice.on_dask.augment import augment
from djservice.on_dask.crew import Crew
from djservice.on_dask.jets import Clouds, clouds_of
from djservice.on_dask.load import Loaded, load
from djservice.on_dask.plugins import compile_kernels
from djservice.shapes.transport import solver_version
from djservice.store.jet_table import JetTable

#: Tasks that are computed or wait to be written at any time.
_AHEAD = 1_024


class JetSample:
    """The jets or events of an input on the workers. Make one with :meth:`load`.

    Attributes
    ----------
    crew, token
        The workers, and a name of this sample for keys of tasks.
    jets
        Table of the jets, in the order of the input.
    sizes
        Number of jets of each bundle.
    versions
        Versions of packages, and the digest of the arithmetic of the workers.
    facts
        What a store of numbers of this sample is about.
    """

    def __init__(
        self,
        crew: Crew,
        loaded: Loaded,
        clouds: Sequence[Future],
        summaries: Sequence[tuple[Any, ...]],
        config: JetsDocument,
        plan: InputPlan,
        solver: str | None,
    ) -> None:
        self.crew, self.clouds, self.token = crew, list(clouds), uuid.uuid4().hex[:12]
        columns = [np.concatenate(column) for column in zip(*summaries, strict=True)]
        self.jets, self.sizes = JetTable(*columns), [len(summary[0]) for summary in summaries]
        self.solver = solver
        self.versions = {**versions(), "arithmetic": crew.arithmetic}
        if solver is not None:
            self.versions["POT"] = solver
        events = sum(len(summary.keys) for summary in loaded.summaries)
        self.empty = events - len(np.unique(self.jets.key))
        self.noun = "events" if config.jets is None else "jets"
        self.facts = {
            **config.numbers,
            "code": code_hash(),
            "inputs": [[basename(f.path), f.size, f.uuid, f.entries] for f in loaded.inputs],
            "selection": plan.selection,
            "left out": [[str(part) for part in vars(bad).values()] for bad in loaded.bad],
            "without jets": self.empty,
        }

    @classmethod
    async def load(
        cls,
        client: Client,
        config: JetsDocument,
        plan: InputPlan,
        augmentations: Sequence[Augmentation],
        watch: Watch,
        solver: str | None,
    ) -> JetSample:
        """Read the input onto the workers of ``client``, and cluster its jets.

        Parameters
        ----------
        solver
            Version of POT that the workers need; None if they need none.

        Raises
        ------
        DjserviceError
            If the input cannot be read.
        """
        crew, token = await Crew.muster(client, watch), uuid.uuid4().hex[:12]
        loaded = await load(crew, plan, watch, token)
        if augmentations:
            loaded = await augment(crew, loaded, augmentations, config.seed, watch, token)
        await compile_kernels(crew.admit_to_clustering(), watch)
        clouds = [
            crew.submit(clouds_of, bundle, config.jets, key=f"jets-{token}-{i}", work="clustering")
            for i, bundle in enumerate(loaded.bundles)
        ]
        summary = attrgetter("summary")
        summaries = [
            crew.submit(summary, each, key=f"jets-summary-{token}-{i}", work="clustering")
            for i, each in enumerate(clouds)
        ]
        return cls(crew, loaded, clouds, await crew.gather(summaries), config, plan, solver)

    def submit(
        self, function: Callable[..., Any], cut: Sequence[tuple[int, int, int]], key: str
    ) -> Future:
        """A task with a group of jets, given as pieces (:func:`djservice.on_dask.jets.pieces`)."""
        return self.crew.submit(
            _with_group,
            function,
            [self.clouds[i] for i, _, _ in cut],
            [(low, high) for _, low, high in cut],
            self.solver,
            key=key,
            work="clustering",
        )

    async def in_order(
        self, submit: Callable[[int], list[Future]], first: int, end: int, watch: Watch
    ) -> AsyncIterator[list[Any]]:
        """The results of the tasks of each number from ``first`` on, in order.

        So many are submitted ahead that all workers are busy.
        """
        waiting: deque[list[Future]] = deque()
        submitted = first
        for number in range(first, end):
            while submitted < end and (submitted == number or sum(map(len, waiting)) < _AHEAD):
                waiting.append(submit(submitted))
                submitted += 1
            results = []
            for future in waiting.popleft():
                results += await self.crew.gather([future])
                watch.step({})
            yield results

    def __str__(self) -> str:
        left_out = f"; events without one: {self.empty:,}" if self.empty else ""
        return f"{len(self.jets):,} {self.noun}{left_out}"


def _with_group(
    function: Callable[[list[Floats]], Any],
    clouds: Sequence[Clouds],
    ranges: Sequence[tuple[int, int]],
    solver: str | None,
) -> Any:
    """What a function makes of a group of jets, on a worker with the same solver as the run."""
    if solver is not None and solver_version() != solver:
        raise RunError(
            f"POT is {solver_version()} on a worker and {solver} here. Install one version."
        )
    return function(
        [each[i] for each, cut in zip(clouds, ranges, strict=True) for i in range(*cut)]
    )
