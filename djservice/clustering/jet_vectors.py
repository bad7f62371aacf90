"""Four-momenta on the host as a ``vector`` momentum array."""

from __future__ import annotations

from typing import Any

import numpy as np

from djservice.core.typing import Floats

_MOMENTUM = np.dtype([(name, np.float64) for name in ("px", "py", "pz", "E")])


def host_vectors(momenta: Floats) -> Any:
    """Four-momenta, the last axis px, py, pz, E, as a ``vector`` momentum array."""
    import vector

    return momenta.view(_MOMENTUM)[..., 0].view(vector.MomentumNumpy4D)
