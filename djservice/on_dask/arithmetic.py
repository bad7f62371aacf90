"""A digest of what a processor computes from fixed inputs, to the last bit.

Processes whose digests agree give a run the same bits. They may differ by the processor, by the C
library, or by NumPy, which chooses its vector code for the processor.
"""

from __future__ import annotations

import functools
import hashlib
import math
import threading
from typing import Any

import numpy as np

from djservice.clustering.compilation import leave_unsaid
from djservice.clustering.sampling import Sampling
from djservice.estimators.state_baseline import StateBaseline
from djservice.evaluation.evaluate import evaluate
from djservice.events.batch import EventBatch
from djservice.objectives import cuts
from djservice.objectives.losses import SquaredError
from djservice.objectives.observables import dijet_mass
from djservice.objectives.widths import RobustWidth

#: NumPy's functions of which there is code for some processors only. Observables of a user may
#: take any of them.
_VECTOR_CODE = (
    *(np.exp, np.exp2, np.expm1, np.sin, np.cos, np.tan, np.sinh, np.cosh, np.tanh),
    *(np.arcsinh, np.arctan, np.cbrt),
)
_OF_POSITIVE = (np.log, np.log2, np.log10, np.log1p, np.sqrt)
_OF_TWO = (np.arctan2, np.hypot, np.power)
_C_LIBRARY = (math.exp, math.sin, math.cos, math.sinh, math.cosh, math.tanh)

#: A worker is asked twice at once: as one that joins, and by itself.
_CLUSTERING = threading.Lock()


@functools.cache
def reading_digest() -> str:
    """Digest of elementary functions, of sums and of a conversion of events."""
    values = _spread(500, -4.0, 4.0)
    positive = np.abs(values) + 1e-3
    results: list[Any] = [function(values) for function in _VECTOR_CODE]
    results += [function(positive) for function in _OF_POSITIVE]
    results += [function(positive, values) for function in _OF_TWO]
    results += [[function(x) for x in values.tolist()] for function in _C_LIBRARY]
    results += [[math.log(x) for x in positive.tolist()], values.sum(), np.cumsum(values)]
    results += [np.einsum("i,j->ij", values[:9], positive[:9]), fixed_events().rapidity]
    return _digest(results)


def clustering_digest() -> str:
    """Digest of trees, losses and gradients; the kernels are compiled if they are not yet."""
    with _CLUSTERING:
        return _clustering_digest()


@functools.cache
def _clustering_digest() -> str:
    leave_unsaid()
    losses = (SquaredError(dijet_mass, 60.0, 60.0), RobustWidth(dijet_mass, scale=60.0, bins=8))
    chosen = cuts.two_jets(pt_min=5.0, rapidity_max=4.9)
    results: list[Any] = [reading_digest().encode()]
    for scale, power in (("minimum", -1.0), ("safe", 0.7)):
        sampling = Sampling(1.0, power, scale, threads=1, device="cpu")  # type: ignore[arg-type]
        moments, per_event = evaluate(
            fixed_events(),
            losses[0].where(chosen) + losses[1],
            StateBaseline(),
            sampling,
            radius=0.7,
            trees=8,
            parameters=("radius", "rigidity", "power"),
        )
        results += [moments.total, moments.outer, moments.tree_covariance, per_event.gradient]
    return _digest(results)


def fixed_events() -> EventBatch:
    """Six events of 20 particles."""
    number = 120
    return EventBatch.from_arrays(
        pt=1.0 + _spread(number, 0.0, 5.0) ** 2,
        eta=_spread(number, -2.5, 2.5, 0.41421356),
        phi=_spread(number, -math.pi, math.pi, 0.73205081),
        mass=np.maximum(_spread(number, -0.2, 0.2, 0.23606798), 0.0),
        offsets=np.arange(0, number + 1, 20),
        source="arithmetic",
    )


def _spread(number: int, low: float, high: float, step: float = 0.61803399) -> Any:
    """Numbers that fill an interval; only exact operations make them."""
    return low + (high - low) * np.modf(step * np.arange(1, number + 1))[0]


def _digest(results: list[Any]) -> str:
    digest = hashlib.sha256()
    for result in results:
        digest.update(result if isinstance(result, bytes) else np.asarray(result).tobytes())
    return digest.hexdigest()[:16]
