"""``preprocess.json`` of weaver and CMSSW: which variables a network reads, and how they are scaled.

Nothing in the file is executed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from djservice.core.suggest import nearest
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.objectives.particle_variables import VARIABLES, Source

#: Largest number of constituents of a jet that a network may read.
MOST_CONSTITUENTS = 4_096
#: Largest number of variables of a constituent.
MOST_VARIABLES = 256
_SCALING = {
    "median": 0.0,
    "norm_factor": 1.0,
    "replace_inf_value": 0.0,
    "lower_bound": -1e32,
    "upper_bound": 1e32,
    "pad": 0.0,
}


@dataclass(frozen=True)
class Variable:
    """A variable and its scaling: (x - median) norm_factor, between the bounds.

    Infinite and undefined values are first replaced. ``pad`` stands where a jet has fewer
    constituents.
    """

    name: str
    median: float
    norm_factor: float
    replace_inf_value: float
    lower_bound: float
    upper_bound: float
    pad: float

    def scaled(self, source: Source) -> Floats:
        """Scaled values of some jets, shape (jet, constituent)."""
        with np.errstate(all="ignore"):
            raw = VARIABLES[self.name](source)
            raw = np.where(np.isfinite(raw), raw, self.replace_inf_value)
            values = np.clip(
                (raw - self.median) * self.norm_factor, self.lower_bound, self.upper_bound
            )
        return np.where(source.mask, values, self.pad)


@dataclass(frozen=True)
class Preprocessing:
    """The inputs of a network.

    Attributes
    ----------
    inputs
        For each input of the network its variables, which make an array of shape
        (jet, variable, constituent).
    labels
        Names of the columns of the output; empty if the file names none.
    least, most
        Lengths between which jets are padded.
    """

    inputs: dict[str, tuple[Variable, ...]]
    labels: tuple[str, ...]
    least: int
    most: int

    def arrays(self, source: Source, names: tuple[str, ...]) -> dict[str, Any]:
        """The arrays of some inputs, float32."""
        return {
            name: np.stack([v.scaled(source) for v in self.inputs[name]], axis=1).astype(np.float32)
            for name in names
        }


def read_preprocessing(content: bytes, path: str) -> Preprocessing:
    """The preprocessing in a file.

    Raises
    ------
    InputError
        If it is no such JSON, or names an unknown variable.
    """
    try:
        data = json.loads(content)
        inputs = {name: data[name] for name in data["input_names"]}
        if not inputs:
            raise KeyError("input_names")
        variables = {name: _variables(part, f"{path}: {name}") for name, part in inputs.items()}
        lengths = [_lengths(part) for part in inputs.values()]
        labels = tuple(str(label) for label in data.get("output_names", ()))
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: expected the preprocess.json of weaver or CMSSW, with input_names and for "
            f"each of them var_names, var_infos and var_length or max_length, found "
            f"{type(error).__name__}: {str(error)[:200]}."
        ) from None
    if (number := sum(map(len, variables.values()))) > MOST_VARIABLES:
        raise InputError(
            f"{path}: the inputs have {number:,} variables, expected at most {MOST_VARIABLES:,}."
        )
    least, most = max(low for low, _ in lengths), min(high for _, high in lengths)
    if not 1 <= least <= most <= MOST_CONSTITUENTS:
        raise InputError(
            f"{path}: the inputs have {least} to {most} constituents, expected the same range for "
            f"all, within 1 to {MOST_CONSTITUENTS:,}."
        )
    return Preprocessing(variables, labels, least, most)


def _lengths(part: dict[str, Any]) -> tuple[int, int]:
    if "var_length" in part:
        return int(part["var_length"]), int(part["var_length"])
    return int(part.get("min_length", part["max_length"])), int(part["max_length"])


def _variables(part: dict[str, Any], place: str) -> tuple[Variable, ...]:
    variables = []
    for name in part["var_names"]:
        if name not in VARIABLES:
            raise InputError(
                f"{place}: unknown variable {name!r}{nearest(str(name), sorted(VARIABLES))}."
            )
        facts = part["var_infos"][name]
        numbers = {key: float(facts.get(key, default)) for key, default in _SCALING.items()}
        if not np.isfinite(list(numbers.values())).all():
            raise InputError(f"{place}: {name}: expected finite numbers, found {facts}.")
        variables.append(Variable(name, **numbers))
    if not variables:
        raise InputError(f"{place}: expected variables in var_names, found none.")
    return tuple(variables)
