"""Settings of the sampling of trees: those of a whole run, and those of a single call.

The public functions take the fields of :class:`Sampling` as keywords. ``rigidity`` has a default in
each function; the other fields are ``**sampling``. :class:`SamplingKeywords` types and documents
them, and :data:`takes_sampling` shows them in the signature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, TypedDict

import numpy as np

from djservice.clustering.device import Device
from djservice.core.arguments import takes
from djservice.core.bounds import are_numbers, require
from djservice.core.typing import Floats
from djservice.errors import InputError

Scale = Literal["minimum", "safe"]
Flips = bool | Literal["all"]


@dataclass(frozen=True)
class Sampling:
    """Settings of the growth of trees that stay the same through a run.

    Attributes
    ----------
    rigidity
        alpha > 0. ``math.inf`` is the deterministic algorithm, which gives FastJet's jets; one tree
        is then enough.
    power, scale, asymmetry, seed, device, threads
        See :class:`SamplingKeywords`.

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
        if np.ndim(self.rigidity) > 0:
            raise InputError(
                f"rigidity has shape {np.shape(self.rigidity)}, expected one number here. "
                "djservice.cluster, djservice.gradient and djservice.expectation take one per event."
            )
        if not (isinstance(self.rigidity, (float, np.floating)) and self.rigidity == math.inf):
            require("rigidity", self.rigidity, more=", or infinity for the deterministic algorithm")
        require("power", self.power, more=" (-1 for anti-kT)")
        require("seed", self.seed)
        if self.threads is not None:
            require("threads", self.threads, more=", or None for all processors")
        if self.scale not in ("minimum", "safe"):
            raise InputError(f"scale is {self.scale!r}, expected 'minimum' or 'safe'.")
        require("asymmetry", self.asymmetry)

    @property
    def exponent(self) -> float:
        """Exponent q of the scale; 0 for the published scale."""
        return float(self.asymmetry) if self.scale == "safe" else 0.0


class GrowthKeywords(TypedDict, total=False):
    """Keywords of a function that grows trees along given histories."""

    power: float
    """Exponent p: -1 anti-kT, the default, 0 Cambridge/Aachen, 1 kT, or any other number."""
    scale: Scale
    """"minimum", the published scale and the default, or "safe", the infrared-safe scale."""
    asymmetry: float
    """Exponent q > 0 of the infrared-safe scale; 1 by default."""
    threads: int | None
    """Number of threads that share the (event, tree) pairs; all processors by default.

    The trees do not depend on it.
    """
    device: Device
    """"cpu", "cuda", or "auto", the default, which takes a GPU if there is one.

    The trees are the same up to rounding (docs/gpu.md).
    """


class SamplingKeywords(GrowthKeywords, total=False):
    """Keywords of a function that samples trees; all are fields of :class:`Sampling`."""

    seed: int
    """Seed of the random numbers; 0 by default."""


#: Defaults of the keywords, by name.
SAMPLING_DEFAULTS = {field.name: field.default for field in fields(Sampling)}
#: Decorators of the functions that have ``**sampling`` or ``**growth``.
takes_sampling = takes(SamplingKeywords, SAMPLING_DEFAULTS)
takes_growth = takes(GrowthKeywords, SAMPLING_DEFAULTS)


@dataclass(frozen=True)
class TreeRequest:
    """A request for trees of every event: how many are grown, and which results are kept.

    The fields are keywords of :func:`djservice.cluster`.

    Raises
    ------
    InputError
        If a number is out of its bounds, or the requested results exclude each other.
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
    constituents: bool = False

    def __post_init__(self) -> None:
        for name in ("trees", "jets", "iteration", "first_tree"):
            require(name, getattr(self, name))
            # A narrow integer of NumPy would overflow where it is multiplied.
            object.__setattr__(self, name, int(getattr(self, name)))
        require("first_tree", self.first_tree + self.trees - 1, of="the last tree")
        if not isinstance(self.stream, str):
            raise InputError(f"stream is {self.stream!r}, expected a name.")
        number = self.settled_pt is None or are_numbers([self.settled_pt])
        if not number or (
            self.settled_pt is not None and (self.history or self.trace or self.settled_pt < 0)
        ):
            raise InputError(
                f"settled_pt is {self.settled_pt!r}, expected a finite number of 0 GeV or more, and "
                "no history or trace."
            )
        if not hasattr(self.flips, "shape") and self.flips not in (True, False, "all"):
            raise InputError(
                f"flips is {self.flips!r}, expected True, False, 'all', or the flips of a sample."
            )
        if self.on_device and (self.history or self.trace):
            raise InputError(
                "on_device is for jets, scores, states and flips; histories and traces are brought "
                "to the host. Leave out on_device, or history and trace."
            )

    @property
    def keeps_history(self) -> bool:
        """Whether merges are kept, for histories or for constituents."""
        return self.history or self.constituents

    @property
    def kept_flips(self) -> Flips:
        """Alternative paths that are searched for; False if the trees follow given flips."""
        return self.flips if isinstance(self.flips, (bool, str)) else False

    @property
    def forced_flips(self) -> Floats:
        """Flips that the trees follow, shape (event * trees + tree, 4), or of length 0."""
        return (
            np.empty((0, 4))
            if isinstance(self.flips, (bool, str))
            else np.reshape(self.flips, (-1, 4))
        )
