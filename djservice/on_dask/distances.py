"""All distances of a sample on a Dask cluster: blocks of the matrix above its diagonal, each once.

Groups of jets are futures that follow from the loading tasks, so Dask makes those of a dead worker
again. A distance depends on its two jets alone, and the bits do not depend on who computed it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial

import numpy as np
from distributed import Future

from djservice.config.distances import Distances
from djservice.core.pieces import looking
from djservice.core.progress import Watch
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.on_dask.jet_sample import JetSample
from djservice.on_dask.jets import group_size, pieces
from djservice.on_dask.limits import check_size
from djservice.on_dask.tasks import stop_if_unwanted
from djservice.shapes.ground import Ground
from djservice.shapes.matrix import Group, Kind, block


class Blocks:
    """The blocks of a matrix. Make them with :meth:`of`.

    Attributes
    ----------
    size
        Number of jets of each group but the last.
    """

    def __init__(
        self, sample: JetSample, groups: Sequence[Future], size: int, ground: Ground
    ) -> None:
        self.sample, self.groups, self.size, self.ground = sample, list(groups), size, ground

    @classmethod
    async def of(cls, sample: JetSample, config: Distances) -> Blocks:
        """The blocks of the matrix of a sample.

        Raises
        ------
        DjserviceError
            If it has fewer than two jets or too many, or a worker has no solver.
        """
        jets, distance, token = sample.jets, config.distance, sample.token
        if len(jets) < 2:
            raise InputError(
                f"{len(jets)} jets have no distances: expected 2 or more. Lower jets.pt_min, or "
                "give more events."
            )
        check_size("distances", "jets of a matrix of distances", len(jets))
        size = group_size(jets.particles, 100, distance.kind == "spectral")
        ground = Ground(
            distance.radius, distance.beta, distance.norm, distance.periodic_phi, config.centre
        )
        make = partial(group_of, ground=ground, kind=distance.kind)
        groups = [
            sample.submit(make, cut, f"group-{token}-{number}")
            for number, cut in enumerate(pieces(sample.sizes, size))
        ]
        made = [
            sample.crew.submit(len, group, key=f"made-{token}-{i}", work="clustering")
            for i, group in enumerate(groups)
        ]
        await sample.crew.gather(made)  # so that a worker without the solver ends the run at once
        return cls(sample, groups, size, ground)

    def number_from(self, stripe: int) -> int:
        """Number of blocks above the diagonal from a stripe on."""
        left = len(self.groups) - stripe
        return left * (left + 1) // 2

    async def stripes(self, first: int, watch: Watch) -> AsyncIterator[Floats]:
        """The stripes from ``first`` on, in order, each from its diagonal block to the right."""
        end = len(self.groups)
        async for blocks in self.sample.in_order(self._submit, first, end, watch):
            yield np.concatenate(blocks, axis=1)

    def _submit(self, stripe: int) -> list[Future]:
        return [
            self.sample.crew.submit(
                block_of,
                self.groups[stripe],
                self.groups[column],
                self.ground,
                stripe == column,
                key=f"block-{self.sample.token}-{stripe}-{column}",
                work="clustering",
            )
            for column in range(stripe, len(self.groups))
        ]


def group_of(jets: Sequence[Floats], ground: Ground, kind: Kind) -> Group:
    """A group of jets, each with rows of pT, rapidity, phi and mass."""
    return Group.of([jet[:, :3] for jet in jets], ground, kind)


def block_of(rows: Group, columns: Group, ground: Ground, diagonal: bool) -> Floats:
    """Distances of the jets of two groups."""
    with looking(stop_if_unwanted):
        return block(rows, columns, ground, diagonal=diagonal)
