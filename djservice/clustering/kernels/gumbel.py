"""Gumbel noises of the candidates of a step, given the drawn one, and the softmax of a step.

Noises are sampled given the argmax, as a race. Candidate k arrives at the time
exp(-(log P_k + g_k)), which is exponential with rate P_k, and the drawn one arrives first. So its
time is a standard exponential, for the rates sum to 1. That of another candidate is later by an
exponential with rate P_k.
"""

from __future__ import annotations

import math

import numpy as np

from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.philox import uniform
from djservice.clustering.kernels.pseudojets import Floats

#: Draws 0 to 2 of a step belong to the tree and its alternative paths.
#: Candidate (i, j) has draw 3 + i n + j.
FIRST_DRAW = 3


@jit
def exponential_of(key: np.uint64, iteration: int, sample: int, step: int, draw: int) -> float:
    """A standard exponential, positive and finite."""
    return -math.log(max(uniform(key, iteration, sample, step, draw), 2.0**-54))


@jit
def race(weight: Floats, waits: Floats, count: int, chosen: int, norm: float) -> None:
    """Replace the weights of candidates by their times of arrival, given that ``chosen`` is first.

    ``waits`` are independent standard exponentials. The Gumbel noise of a candidate is
    -log(time) - log(weight / norm).
    """
    first = waits[chosen]
    for k in range(count):
        weight[k] = first if k == chosen else first + waits[k] * norm / weight[k]


@jit
def soften(times: Floats, slope: Floats, count: int, chosen: int, temperature: float) -> None:
    """Replace the slopes l by dq = q (l - sum q l) / T, with q = softmax(-log(times) / T)."""
    total = mean = 0.0
    for k in range(count):
        times[k] = (times[chosen] / times[k]) ** (1.0 / temperature) if k != chosen else times[k]
    times[chosen] = 1.0
    for k in range(count):
        total += times[k]
        mean += times[k] * slope[k]
    mean /= total
    for k in range(count):
        slope[k] = times[k] / total * (slope[k] - mean) / temperature
