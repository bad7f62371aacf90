"""The slow truth: one stochastic clustering in plain numpy, every option listed anew at every step.

Written from the definitions alone and shares no code with the package. Momenta are kept in light-cone components
(E + pz, E - pz), whose sums do not cancel, so that rapidities here are good to the last digits also far forward.
Every quantity comes with a first-order bound on the rounding of a float64 program that holds (px, py, pz, E):
the tolerance of a test then follows from the conditioning of the step and not from taste.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import uproot
from numpy.typing import ArrayLike, NDArray

from djservice.clustering.radius import VariableR
from djservice.events.batch import EventBatch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BEAM = -1
#: Rounding allowed per operation chain, in units of the spacing of float64 at 1.
ROUNDING = 8 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Setting:
    """Parameters of the clustering; ``asymmetry`` None is the published scale, a number the safe one.

    ``radius`` is R, or (rho, R_min, R_max) of variable-R jets.
    """

    radius: float | tuple[float, float, float]
    rigidity: float
    power: float
    asymmetry: float | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The same as keyword arguments of the package."""
        scale = (
            {"scale": "minimum"}
            if self.asymmetry is None
            else {"scale": "safe", "asymmetry": self.asymmetry}
        )
        radius = VariableR(*self.radius) if isinstance(self.radius, tuple) else self.radius
        return {"radius": radius, "rigidity": self.rigidity, "power": self.power, **scale}


class Objects:
    """Particles 0 .. n-1 of one event, and the sums made of them: step t makes object n + t."""

    def __init__(self, event: ArrayLike, slots: int | None = None) -> None:
        pt, rapidity, phi, mass = np.asarray(event, dtype=np.float64).reshape(-1, 4).T
        self.n = len(pt)
        transverse = np.hypot(pt, mass)
        columns = {
            "px": pt * np.cos(phi),
            "py": pt * np.sin(phi),
            "plus": transverse * np.exp(rapidity),
            "minus": transverse * np.exp(-rapidity),
            "pt": pt,
            "rapidity": rapidity,
            "phi": phi,
            "sum_pt": pt,  # scalar sums, for the bounds on rounding only
        }
        empty = np.full((2 * self.n if slots is None else slots) - self.n, np.nan)
        self.column = {name: np.concatenate([values, empty]) for name, values in columns.items()}

    def __getitem__(self, name: str) -> Floats:
        return self.column[name]

    def merge(self, a: int, b: int, new: int) -> None:
        """E-scheme: object ``new`` is the sum of the four-momenta of ``a`` and ``b``."""
        for name in ("px", "py", "plus", "minus", "sum_pt"):
            self.column[name][new] = self.column[name][a] + self.column[name][b]
        self.column["pt"][new] = math.hypot(self["px"][new], self["py"][new])
        self.column["rapidity"][new] = 0.5 * math.log(self["plus"][new] / self["minus"][new])
        self.column["phi"][new] = math.atan2(self["py"][new], self["px"][new])

    def errors(self, ids: Ints) -> tuple[Floats, Floats, Floats]:
        """Bounds on the rounding of pt (relative), rapidity and phi (absolute)."""
        cancelled = self["sum_pt"][ids] / self["pt"][ids]
        y = np.abs(self["rapidity"][ids])
        return (
            ROUNDING * cancelled,
            ROUNDING * (1 + np.exp(2 * y) + cancelled),
            ROUNDING * (np.pi + cancelled),
        )

    def four_momenta(self, ids: Sequence[int] | Ints) -> Floats:
        """(px, py, pz, E), shape (object, 4)."""
        ids = np.asarray(ids, dtype=np.int64)
        plus, minus = self["plus"][ids], self["minus"][ids]
        return np.stack(
            [self["px"][ids], self["py"][ids], (plus - minus) / 2, (plus + minus) / 2], axis=1
        )

    def leading_mass(self, jets: Sequence[int]) -> float:
        """Mass of the sum of the two jets of largest pt (of the one jet, if there is one only)."""
        two = sorted(jets, key=lambda jet: -self["pt"][jet])[:2]
        px, py, plus, minus = (self[name][two].sum() for name in ("px", "py", "plus", "minus"))
        return math.sqrt(max(plus * minus - px * px - py * py, 0.0))


@dataclass(frozen=True)
class Step:
    """All options of one step, beams first, then every pair; q is D R^2."""

    first: Ints
    second: Ints
    q: Floats
    error: Floats
    measure: Floats
    """What the smallest of is the scale: q itself, or q times the asymmetry of the pair."""
    slopes: dict[str, Floats]
    """d log q of each option by R (or by rho, R_min and R_max), and by p."""
    rigidity: float
    particles: int

    @cached_property
    def minimum(self) -> float:
        return float(self.q.min())

    @cached_property
    def scale(self) -> float:
        return float(self.measure.min())

    @property
    def limit(self) -> float:
        """Options with an exponent above this are dropped."""
        log_n = math.log(self.particles)
        return 40 + 2 * log_n if self.particles < 512 else 20 + 3 * log_n

    @cached_property
    def exponent(self) -> Floats:
        """alpha (q - q_min) / S, with its limits where S = 0 and where alpha = infinity."""
        excess = self.q - self.minimum
        if self.scale == 0 or math.isinf(self.rigidity):
            return np.where(excess > 0, np.inf, 0.0)
        with np.errstate(over="ignore"):
            return self.rigidity * excess / self.scale

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        return self.exponent <= self.limit

    @cached_property
    def weight(self) -> Floats:
        return np.where(self.kept, np.exp(-self.exponent), 0.0)

    @cached_property
    def norm(self) -> float:
        return float(self.weight.sum())

    @cached_property
    def probability(self) -> Floats:
        return self.weight / self.norm

    def score(self, slope: Floats) -> Floats:
        """d log P / dt of each option, for the parameter t of which ``slope`` is d log q / dt."""
        if self.scale == 0:
            return np.zeros_like(self.q)
        moved = self.q / self.scale * (slope - slope[self.measure.argmin()])
        return -self.rigidity * (moved - self._mean(moved))

    @cached_property
    def score_radius(self) -> Floats:
        return self.score(self.slope_radius)

    @property
    def slope_radius(self) -> Floats:
        """In R, or in rho: the first of the parameters."""
        return next(iter(self.slopes.values()))

    @property
    def score_power(self) -> Floats:
        return self.score(self.slopes["power"])

    @property
    def score_rigidity(self) -> Floats:
        if self.scale == 0:
            return np.zeros_like(self.q)
        each = self.exponent / self.rigidity
        return self._mean(each) - each

    def _mean(self, values: Floats) -> float:
        return float((self.probability[self.kept] * values[self.kept]).sum())

    def find(self, a: int, b: int) -> int:
        """Index of the option that merges ``a`` and ``b`` (or makes ``a`` a jet, b = BEAM)."""
        same = ((self.first == a) & (self.second == b)) | ((self.first == b) & (self.second == a))
        (index,) = np.flatnonzero(same)
        return int(index)

    # bounds on rounding

    @cached_property
    def minimum_error(self) -> float:
        return _error_of_minimum(self.q, self.error)

    @cached_property
    def scale_error(self) -> float:
        return _error_of_minimum(self.measure, self.measure * self._relative_error)

    @cached_property
    def _relative_error(self) -> Floats:
        """Of q and of the measure: the ratio of two pt is good to a few times the error of d or better."""
        return 2 * self.error / np.where(self.q > 0, self.q, 1)

    @cached_property
    def exponent_error(self) -> Floats:
        if self.scale == 0 or math.isinf(self.rigidity):
            return np.zeros_like(self.q)
        with np.errstate(over="ignore", invalid="ignore"):
            own = self.rigidity * (self.error + self.minimum_error) / self.scale
            error = own + self.exponent * (self.scale_error / self.scale + ROUNDING)
        return np.where(np.isfinite(error), error, 0.0)

    @cached_property
    def norm_error(self) -> float:
        """Relative."""
        return self._mean(self.exponent_error) + ROUNDING

    @cached_property
    def probability_error(self) -> Floats:
        """Relative."""
        return self.norm_error + self.exponent_error

    @cached_property
    def score_radius_error(self) -> Floats:
        return self.score_error(self.slope_radius)

    def score_error(self, slope: Floats) -> Floats:
        if self.scale == 0:
            return np.zeros_like(self.q)
        moved = np.abs(self.q / self.scale * (slope - slope[self.measure.argmin()]))
        each = moved * (self._relative_error + self.scale_error / self.scale + ROUNDING)
        # what is dropped here may be kept elsewhere, with whatever exp makes of weights that vanish
        tail = ((np.exp(-self.exponent) + 1e-300) * moved)[~self.kept & np.isfinite(moved)].sum()
        return self.rigidity * (2 * tail + each + self._mean(each + moved * self.probability_error))

    @property
    def blurred(self) -> NDArray[np.bool_]:
        """Options whose distance may be 0 or not, as rounding will have it: a sum of particles at one point."""
        return (self.error > 0) & (self.q <= 2 * self.error)

    @property
    def kink(self) -> bool:
        """Whether rounding decides if the scale is a beam's or a pair's: no score is defined there."""
        return self.kink_in(self.slope_radius)

    def kink_in(self, slope: Floats) -> bool:
        """The same for the parameter that ``slope`` belongs to."""
        rivals = self.measure <= self.scale + 2 * self.scale_error
        return len(np.unique(slope[rivals])) > 1


def _error_of_minimum(values: Floats, errors: Floats) -> float:
    minimum = values.min()
    return float(max((values + errors).min() - minimum, minimum - (values - errors).min()))


@cache
def _pairs(k: int) -> tuple[Ints, Ints]:
    return np.triu_indices(k, 1)


def options(objects: Objects, active: Sequence[int], setting: Setting) -> Step:
    """Every option of the active objects."""
    ids = np.array(sorted(active), dtype=np.int64)
    pt, y, phi = objects["pt"][ids], objects["rapidity"][ids], objects["phi"][ids]
    error_pt, error_y, error_phi = objects.errors(ids)
    i, j = _pairs(len(ids))
    d = pt ** (2 * setting.power)
    log_pt = np.log(pt)
    dy = y[i] - y[j]
    dphi = np.abs(phi[i] - phi[j])
    dphi = np.minimum(dphi, 2 * np.pi - dphi)
    small = np.where(d[i] <= d[j], i, j)
    radius, slopes = radius_and_slopes(pt, setting.radius)
    q = np.concatenate([d * radius**2, d[small] * (dy**2 + dphi**2)])

    error_d = 2 * abs(setting.power) * error_pt + ROUNDING
    # the distance of two particles at one point is 0 in any program; that of a sum to them is 0 or rounding
    distinct = (dy != 0) | (dphi != 0) | (ids[j] >= objects.n)
    around_y, around_phi = error_y[i] + error_y[j], error_phi[i] + error_phi[j]
    error_r2 = 2 * np.abs(dy) * around_y + around_y**2 + 2 * dphi * around_phi + around_phi**2
    relative = np.concatenate([error_d, np.maximum(error_d[i], error_d[j])])
    error = q * relative + np.concatenate([np.zeros(len(ids)), d[small] * error_r2 * distinct])

    ratio = np.ones_like(q)
    if setting.asymmetry is not None:
        ratio[len(ids) :] = np.exp(np.abs(log_pt[i] - log_pt[j]) * setting.asymmetry)
    return Step(
        first=np.concatenate([ids, ids[i]]),
        second=np.concatenate([np.full(len(ids), BEAM), ids[j]]),
        q=q,
        error=error,
        measure=q * ratio,
        slopes={name: np.concatenate([slope, np.zeros(len(i))]) for name, slope in slopes.items()}
        | {"power": 2 * np.concatenate([log_pt, log_pt[small]])},
        rigidity=setting.rigidity,
        particles=objects.n,
    )


def radius_and_slopes(
    pt: Floats, radius: float | tuple[float, float, float]
) -> tuple[Floats | float, dict[str, Floats]]:
    """R of each object, and d log R^2 of each by its parameters."""
    if not isinstance(radius, tuple):
        return radius, {"radius": np.full(len(pt), 2 / radius)}
    rho, low, high = radius
    free = rho / pt
    of = {
        "rho": (free > low) & (free < high),
        "radius_min": free <= low,
        "radius_max": free >= high,
    }
    values = {"rho": rho, "radius_min": low, "radius_max": high}
    return np.clip(free, low, high), {
        name: np.where(where, 2 / values[name], 0.0) if values[name] else np.zeros(len(pt))
        for name, where in of.items()
    }


def walk(
    event: ArrayLike, history: ArrayLike, setting: Setting, steps: Collection[int] | None = None
) -> Iterator[tuple[int, Step, int]]:
    """Follow a history; yield (t, options, index of the drawn one) at every step, or at ``steps`` only."""
    objects = Objects(event)
    active = set(range(objects.n))
    for t, (a, b) in enumerate(np.asarray(history, dtype=np.int64).reshape(-1, 2).tolist()):
        if steps is None or t in steps:
            step = options(objects, sorted(active), setting)
            yield t, step, step.find(a, b)
        active.remove(a)
        if b != BEAM:
            active.remove(b)
            objects.merge(a, b, objects.n + t)
            active.add(objects.n + t)
    if active:
        raise ValueError(f"the history ends with {len(active)} objects active")


def final_jets(event: ArrayLike, history: ArrayLike) -> tuple[Objects, list[int]]:
    """The objects of a finished clustering and the ids of its jets, in the order in which they were made."""
    objects, jets = Objects(event), []
    for t, (a, b) in enumerate(np.asarray(history, dtype=np.int64).reshape(-1, 2).tolist()):
        if b == BEAM:
            jets.append(a)
        else:
            objects.merge(a, b, objects.n + t)
    return objects, jets


# inputs of the tests


def to_batch(events: Sequence[ArrayLike], **keywords: Any) -> EventBatch:
    """A batch of events given as arrays of (pt, rapidity, phi, mass)."""
    arrays = [np.asarray(event, dtype=np.float64).reshape(-1, 4) for event in events]
    pt, rapidity, phi, mass = np.concatenate(arrays).T
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])])
    return EventBatch.from_arrays(
        pt=pt, rapidity=rapidity, phi=phi, mass=mass, offsets=offsets, **keywords
    )


def event_of(batch: EventBatch, i: int) -> Floats:
    """Event ``i`` of a batch as an array of (pt, rapidity, phi, mass)."""
    own = slice(batch.offsets[i], batch.offsets[i + 1])
    return np.stack([batch.pt[own], batch.rapidity[own], batch.phi[own], batch.mass[own]], axis=1)


@cache
def shipped_events(name: str = "ZHllbb_200.root", massless: bool = False) -> EventBatch:
    """Simulated events that come with the package, read without its own reader."""
    branches = [f"PFCands_{field}" for field in ("pt", "eta", "phi", "mass")]
    with as_file(files("djservice") / "data" / name) as path, uproot.open(path) as file:
        columns = file["Events"].arrays(branches, library="np")
    pt, eta, phi, mass = (np.concatenate(columns[branch]).astype(np.float64) for branch in branches)
    if massless:
        mass = np.zeros_like(mass)
    counts = [len(event) for event in columns["PFCands_pt"]]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return EventBatch.from_arrays(pt=pt, eta=eta, phi=phi, mass=mass, offsets=offsets, source=name)
