"""Fitted shapes of a sample on a Dask cluster: groups of jets, each a task.

A fit depends on its jet alone, and the bits do not depend on who computed it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial

from distributed import Future

from djservice.core.pieces import looking
from djservice.core.progress import Watch
from djservice.core.typing import Floats
from djservice.on_dask.jet_sample import JetSample
from djservice.on_dask.jets import group_size, pieces
from djservice.on_dask.tasks import stop_if_unwanted
from djservice.shapes.fit import fits_of
from djservice.shapes.forms import Isotropy, Shape
from djservice.shapes.table import columns_of

#: Most jets of a group: a fit takes from a millisecond to half a second.
MOST_JETS = 25


class Fits:
    """The fits to a sample.

    Attributes
    ----------
    size
        Number of jets of each group but the last.
    """

    def __init__(
        self, sample: JetSample, shape: Shape | Isotropy, radius: float, beta: float
    ) -> None:
        self.sample, self.size = sample, group_size(sample.jets.particles, MOST_JETS)
        self.groups = pieces(sample.sizes, self.size)
        self.fit = partial(rows_of, shape=shape, radius=radius, beta=beta)

    async def rows(self, first: int, watch: Watch) -> AsyncIterator[dict[str, Floats]]:
        """The columns of each group from ``first`` on, in order."""

        def submit(number: int) -> list[Future]:
            key = f"fits-{self.sample.token}-{number}"
            return [self.sample.submit(self.fit, self.groups[number], key)]

        async for (rows,) in self.sample.in_order(submit, first, len(self.groups), watch):
            yield rows


def rows_of(
    jets: Sequence[Floats], shape: Shape | Isotropy, radius: float, beta: float
) -> dict[str, Floats]:
    """The columns of a group of jets, each with rows of pT, rapidity, phi and mass."""
    with looking(stop_if_unwanted):
        return columns_of(fits_of(jets, shape, radius, beta), shape)
