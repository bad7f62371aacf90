"""Four-momenta on the host as a ``vector`` momentum array."""

from __future__ import annotations

from typing import Any

import numpy as np

from djservice.core.typing import Floats

_MOMENTUM = np.dtype([(name, np.float64) for name in ("px", "py", "pz", "E")])


def host_vectors(momenta: Floats) -> Any:
    """A ``vector`` momentum array of four-momenta, whose last axis is px, py, pz, E."""
    import vector

    return momenta.view(_MOMENTUM)[..., 0].view(vector.MomentumNumpy4D)
