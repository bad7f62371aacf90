"""The parameters in which trees have a score, and their columns among the kernel's scores."""

from __future__ import annotations

from collections.abc import Sequence

from djservice.clustering.kernels.scores import HIGH, LOW, POWER, RHO, RIGIDITY
from djservice.clustering.radius import Radius, VariableR
from djservice.errors import InputError

_CONSTANT_R = {"radius": LOW, "rigidity": RIGIDITY, "power": POWER}
_VARIABLE_R = {
    "rho": RHO,
    "radius_min": LOW,
    "radius_max": HIGH,
    "rigidity": RIGIDITY,
    "power": POWER,
}


def score_columns(radius: Radius, power: float, parameters: Sequence[str]) -> dict[str, int]:
    """The requested parameters, or the first one by default, with their columns.

    Raises
    ------
    InputError
        If these are no different names of parameters, or there is no derivative in one.
    """
    available = _VARIABLE_R if isinstance(radius, VariableR) else _CONSTANT_R
    good = isinstance(parameters, (tuple, list)) and all(name in available for name in parameters)
    if not good or len(set(parameters)) < len(parameters):
        raise InputError(
            f"parameters is {parameters!r}, expected a tuple of different names among "
            f"{', '.join(available)}."
        )
    names = parameters or (next(iter(available)),)
    if "power" in names and power == 0.0:
        raise InputError(
            "there is no derivative in the power at power = 0, where min(d_i, d_j) has a kink. "
            "Choose another power, or leave 'power' out of the parameters."
        )
    return {name: available[name] for name in names}
