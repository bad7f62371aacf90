"""All distances of a sample on a Dask cluster: blocks of the matrix above its diagonal, each once.

Groups of jets are futures that follow from the loading tasks, so Dask makes those of a dead worker
again. A distance depends on its two jets alone, and the bits do not depend on who computed it.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import AsyncIterator, Sequence
from functools import partial
from operator import attrgetter

import numpy as np
from distributed import Client, Future

from djservice.config.distances import Distances
from djservice.core.pieces import looking
from djservice.core.progress import Watch
from djservice.core.provenance import versions
from djservice.core.typing import Floats
from djservice.errors import InputError, RunError
from djservice.events.augment import Augmentation
from djservice.input.plan import InputPlan
from djservice.on_dask.augment import augment
from djservice.on_dask.crew import Crew
from djservice.on_dask.jets import Clouds, clouds_of, group_size, pieces
from djservice.on_dask.limits import check_size
from djservice.on_dask.load import Loaded, load
from djservice.on_dask.plugins import compile_kernels
from djservice.on_dask.tasks import stop_if_unwanted
from djservice.shapes.ground import Ground
from djservice.shapes.matrix import Group, Kind, block
from djservice.shapes.transport import solver_version
from djservice.store.distance_store import JetTable

#: Blocks that are computed or wait to be written at any time, so that all workers are busy.
AHEAD = 1_024


class Sample:
    """The jets or events of an input in groups on the workers. Make one with :meth:`load`.

    Attributes
    ----------
    loaded
        The input.
    jets
        Table of the jets, in the order of the matrix.
    size
        Number of jets of each group but the last.
    empty
        Number of events without a jet, or without particles, which are left out.
    versions
        Versions of packages, and the digest of the arithmetic of the workers.
    """

    def __init__(
        self,
        crew: Crew,
        loaded: Loaded,
        groups: Sequence[Future],
        jets: JetTable,
        size: int,
        ground: Ground,
    ) -> None:
        self.crew, self.loaded, self.groups, self.jets = crew, loaded, list(groups), jets
        self.size, self.ground, self.token = size, ground, uuid.uuid4().hex[:12]
        events = sum(len(summary.keys) for summary in loaded.summaries)
        self.empty = events - len(np.unique(jets.key))
        self.versions = {
            **versions(),
            "arithmetic": crew.arithmetic,
            "POT": solver_version(),
        }

    @classmethod
    async def load(
        cls,
        client: Client,
        config: Distances,
        plan: InputPlan,
        augmentations: Sequence[Augmentation],
        watch: Watch,
    ) -> Sample:
        """Read the input onto the workers of ``client``, and cluster its jets.

        Raises
        ------
        DjserviceError
            If the input cannot be read, or has fewer than two jets or too many.
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
        jets, sizes = await _table(crew, clouds, token)
        if len(jets) < 2:
            raise InputError(
                f"{len(jets)} jets have no distances: expected 2 or more. Lower jets.pt_min, or "
                "give more events."
            )
        check_size("distances", "jets of a matrix of distances", len(jets))
        distance = config.distance
        size = group_size(jets.particles, distance.kind == "spectral")
        ground = Ground(
            distance.radius, distance.beta, distance.norm, distance.periodic_phi, config.centre
        )
        make = partial(group_of, ground=ground, kind=distance.kind, solver=solver_version())
        groups = [
            crew.submit(
                make,
                [clouds[i] for i, _, _ in cut],
                [(low, high) for _, low, high in cut],
                key=f"group-{token}-{number}",
                work="clustering",
            )
            for number, cut in enumerate(pieces(sizes, size))
        ]
        made = [
            crew.submit(len, group, key=f"made-{token}-{i}", work="clustering")
            for i, group in enumerate(groups)
        ]
        await crew.gather(made)  # so that a worker without the solver ends the run at once
        return cls(crew, loaded, groups, jets, size, ground)

    def blocks_from(self, stripe: int) -> int:
        """Number of blocks above the diagonal from a stripe on."""
        left = len(self.groups) - stripe
        return left * (left + 1) // 2

    async def stripes(self, first: int, watch: Watch) -> AsyncIterator[Floats]:
        """The stripes from ``first`` on, in order, each from its diagonal block to the right."""
        waiting: deque[list[Future]] = deque()
        submitted = first
        for stripe in range(first, len(self.groups)):
            while submitted < len(self.groups) and (
                submitted == stripe or sum(map(len, waiting)) < AHEAD
            ):
                waiting.append(self._submit(submitted))
                submitted += 1
            blocks = []
            for future in waiting.popleft():
                blocks += await self.crew.gather([future])
                watch.step({})
            yield np.concatenate(blocks, axis=1)

    def _submit(self, stripe: int) -> list[Future]:
        return [
            self.crew.submit(
                block_of,
                self.groups[stripe],
                self.groups[column],
                self.ground,
                stripe == column,
                key=f"block-{self.token}-{stripe}-{column}",
                work="clustering",
            )
            for column in range(stripe, len(self.groups))
        ]


async def _table(crew: Crew, clouds: Sequence[Future], token: str) -> tuple[JetTable, list[int]]:
    """The table of all jets, and the number of jets of each bundle."""
    summaries = await crew.gather(
        [
            crew.submit(
                attrgetter("summary"), each, key=f"jets-summary-{token}-{i}", work="clustering"
            )
            for i, each in enumerate(clouds)
        ]
    )
    columns = [np.concatenate(column) for column in zip(*summaries, strict=True)]
    return JetTable(*columns), [len(summary[0]) for summary in summaries]


def group_of(
    clouds: Sequence[Clouds],
    ranges: Sequence[tuple[int, int]],
    *,
    ground: Ground,
    kind: Kind,
    solver: str,
) -> Group:
    """A group of jets from parts of bundles, on a worker with the same solver as the run."""
    if solver_version() != solver:
        raise RunError(
            f"POT is {solver_version()} on a worker and {solver} here. Install one version."
        )
    jets = [each[i] for each, cut in zip(clouds, ranges, strict=True) for i in range(*cut)]
    return Group.of(jets, ground, kind)


def block_of(rows: Group, columns: Group, ground: Ground, diagonal: bool) -> Floats:
    """Distances of the jets of two groups."""
    with looking(stop_if_unwanted):
        return block(rows, columns, ground, diagonal=diagonal)
