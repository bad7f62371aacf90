"""How trees are sampled: what stays the same through a run, and what one call asks for.

The public functions take the fields of :class:`Sampling` as keywords: ``rigidity``, whose default is the function's own, and the others
as ``**sampling``. :class:`SamplingKeywords` types and documents them, and :func:`takes_sampling` shows them in the signature.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict, TypeVar

import numpy as np

from djservice.clustering.device import Device
from djservice.core.typing import Floats
from djservice.errors import InputError

Scale = Literal["minimum", "safe"]
Flips = bool | Literal["all"]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Sampling:
    """How trees are grown: what stays the same through a run.

    Attributes
    ----------
    rigidity
        alpha > 0; ``math.inf`` is the deterministic algorithm: FastJet's jets, and one tree is enough.
    power, scale, asymmetry, seed, device, threads
        As :class:`SamplingKeywords` says.

    Raises
    ------
    InputError
        If a number has no meaning.
    """

    rigidity: float = 1.0
    power: float = -1.0
    scale: Scale = "minimum"
    asymmetry: float = 1.0
    seed: int = 0
    device: Device = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not self.rigidity > 0:
            raise InputError(
                f"rigidity is {self.rigidity}, expected a positive number, or infinity for the deterministic algorithm."
            )
        if not math.isfinite(self.power):
            raise InputError(f"power is {self.power}, expected a finite number (-1 for anti-kT).")
        if self.scale not in ("minimum", "safe"):
            raise InputError(f"scale is {self.scale!r}, expected 'minimum' or 'safe'.")
        if self.scale == "safe" and not (math.isfinite(self.asymmetry) and self.asymmetry > 0):
            raise InputError(f"asymmetry is {self.asymmetry}, expected a positive, finite number.")

    @property
    def exponent(self) -> float:
        """q of the scale: 0 for the published one."""
        return float(self.asymmetry) if self.scale == "safe" else 0.0


class GrowthKeywords(TypedDict, total=False):
    """Keywords of a function that follows trees."""

    power: float
    """p: -1 anti-kT, the default, 0 Cambridge/Aachen, 1 kT, or any other number."""
    scale: Scale
    """"minimum", the published scale and the default, or "safe", the infrared-safe one."""
    asymmetry: float
    """Exponent q > 0 of the infrared-safe scale; 1 by default."""
    threads: int | None
    """Threads that share the (event, tree) pairs; all processors by default. The trees do not depend on it."""
    device: Device
    """"cpu", "cuda", or "auto", the default: a GPU if there is one. The trees are the same but for rounding, see docs/gpu.md."""


class SamplingKeywords(GrowthKeywords, total=False):
    """Keywords of a function that samples trees, which are fields of :class:`Sampling`."""

    seed: int
    """Of the random numbers; 0 by default."""


def takes_sampling(**defaults: Any) -> Callable[[Function], Function]:
    """Show the keywords of a function's ``**sampling`` in its signature, with their defaults.

    Parameters
    ----------
    defaults
        Where they are other than those of :class:`Sampling`.
    """

    def shown(function: Function) -> Function:
        signature = inspect.signature(function)
        *own, last = signature.parameters.values()
        names = GrowthKeywords.__annotations__ | (
            {} if "Growth" in str(last.annotation) else SamplingKeywords.__annotations__
        )
        flat = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(field.name, field.default),
                annotation=field.type,
            )
            for field in fields(Sampling)
            if field.name in names
        ]
        function.__signature__ = signature.replace(parameters=[*own, *flat])  # type: ignore[attr-defined]
        return function

    return shown


@dataclass(frozen=True)
class TreeRequest:
    """Which trees of every event are grown, and what is kept of them; as the keywords of :func:`djservice.cluster`.

    Raises
    ------
    InputError
        If there are none, or what is wanted does not go together.
    """

    trees: int = 1
    jets: int = 2
    stream: str = "sample"
    iteration: int = 0
    first_tree: int = 0
    history: bool = False
    trace: bool = False
    settled_pt: float | None = None
    parameters: tuple[str, ...] = ()
    states: bool = False
    flips: Flips | Floats = False
    on_device: bool = False

    def __post_init__(self) -> None:
        if self.trees < 1 or self.jets < 1:
            raise InputError(
                f"expected at least one tree and one jet, found trees={self.trees} and jets={self.jets}."
            )
        if self.settled_pt is not None and (self.history or self.trace or not self.settled_pt >= 0):
            raise InputError(
                f"settled_pt is {self.settled_pt}, expected 0 GeV or more, and no history or trace."
            )
        if self.on_device and (self.history or self.trace):
            raise InputError(
                "on_device is for jets, scores, states and flips; histories and traces are brought to the host."
            )

    @property
    def kept_flips(self) -> Flips:
        """Which alternative paths are looked for."""
        return self.flips if isinstance(self.flips, (bool, str)) else False

    @property
    def forced_flips(self) -> Floats:
        """Those that the trees take, shape (event * trees + tree, 4); of length 0 where they take none."""
        return (
            np.empty((0, 4))
            if isinstance(self.flips, (bool, str))
            else np.reshape(self.flips, (-1, 4))
        )
