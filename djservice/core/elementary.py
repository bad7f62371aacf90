"""Elementary functions whose results do not depend on the processor.

NumPy has vector code for some processors whose float64 results differ in the last bit. Its functions
of long double have none. Rounded to float64, they are the nearest numbers in all but rare cases.
They take 50 to 120 ns per number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from djservice.core.typing import Floats


def _in_long_double(function: np.ufunc) -> Callable[[ArrayLike], Floats]:
    def rounded(x: ArrayLike) -> Floats:
        return np.asarray(function(x, dtype=np.longdouble)).astype(np.float64)

    rounded.__doc__ = f"NumPy's ``{function.__name__}``, with the same bits on every processor."
    return rounded


arcsinh = _in_long_double(np.arcsinh)
cos = _in_long_double(np.cos)
cosh = _in_long_double(np.cosh)
exp = _in_long_double(np.exp)
log = _in_long_double(np.log)
sin = _in_long_double(np.sin)
sinh = _in_long_double(np.sinh)
tanh = _in_long_double(np.tanh)


def rapidity_of(momenta: Any) -> Floats:
    """Rapidities of ``vector``'s momenta: infinite along the beam, NaN where a momentum is."""
    pz, energy = (np.asarray(x).astype(np.longdouble) for x in (momenta.pz, momenta.E))
    return np.asarray(0.5 * np.log((energy + pz) / (energy - pz))).astype(np.float64)


def azimuth_of(momenta: Any) -> Floats:
    """Azimuths of ``vector``'s momenta in rad, in [-pi, pi]."""
    return azimuth(momenta.px, momenta.py)


def azimuth(px: ArrayLike, py: ArrayLike) -> Floats:
    """Azimuths of px and py in rad, in [-pi, pi]."""
    angle = np.arctan2(np.asarray(py), np.asarray(px), dtype=np.longdouble)
    return np.asarray(angle).astype(np.float64)
