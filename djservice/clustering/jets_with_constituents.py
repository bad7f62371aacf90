"""Jets on the host that know their constituents. Imported late, because ``vector`` is slow."""

from __future__ import annotations

from typing import Any

import numpy as np

from djservice.core.vector_library import vector


class JetsWithConstituents(vector.MomentumNumpy4D):
    """A ``vector`` momentum array of jets that know their constituents.

    A part of it, such as ``jets[..., 0]``, knows them too; sums do not.
    """

    constituents: Any = None

    def __array_finalize__(self, array: Any) -> None:
        super().__array_finalize__(array)
        self.constituents = getattr(array, "constituents", None)

    @property
    def slot(self) -> Any:
        """Number of each jet in ``constituents``."""
        return np.asarray(self["slot"])
