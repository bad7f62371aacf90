"""The alternative path: at one step of a tree, the option that an infinitesimally larger R would have drawn instead.

With P_k the probability of an option and s_k = d log P_k / d log R, the options with s < 0 lose the probability that those with
s > 0 gain. Having drawn k, the step flips with rate -s_k (if that is positive), to an option drawn with probability
proportional to P s+. Over the tree all flips are kept, or one, chosen in proportion to the rates, whose sum is W.
"""

from __future__ import annotations

from typing import NamedTuple

from djservice.clustering.kernels.candidates import Candidates
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.pseudojets import Floats


class Flip(NamedTuple):
    """W so far, and the flip that is kept: its step (-1: none) and the objects of its option (-1: beam)."""

    rate: float
    step: int
    a: int
    b: int


@jit
def gain(q: float, is_beam: bool, scale_is_beam: bool, mean: float) -> float:
    """What is proportional to s of an option where it is positive, else 0."""
    contrast = (0.0 if is_beam else q) - mean if scale_is_beam else mean - (q if is_beam else 0.0)
    return max(contrast, 0.0)


@jit
def flipped_candidate(
    pairs: Candidates,
    n_pairs: int,
    beams: Candidates,
    n_beams: int,
    scale_is_beam: bool,
    mean: float,
    uniform: float,
) -> tuple[int, int]:
    """The option that a flip leads to, as objects (a, b); b = -1 for a beam, a = -1 where no option gains."""
    total = 0.0
    for k in range(n_pairs):
        total += pairs.w[k] * gain(pairs.q[k], False, scale_is_beam, mean)
    for k in range(n_beams):
        total += beams.w[k] * gain(beams.q[k], True, scale_is_beam, mean)
    target, a, b = uniform * total, -1, -1
    for k in range(n_pairs):
        part = pairs.w[k] * gain(pairs.q[k], False, scale_is_beam, mean)
        if part > 0.0 and target >= 0.0:
            a, b = int(pairs.owner[k]), int(pairs.other[k])
            target = target - part if target >= part else -1.0
    for k in range(n_beams):
        part = beams.w[k] * gain(beams.q[k], True, scale_is_beam, mean)
        if part > 0.0 and target >= 0.0:
            a, b = int(beams.owner[k]), -1
            target = target - part if target >= part else -1.0
    return a, b


@jit
def no_flip() -> Flip:
    """Before the first step."""
    return Flip(0.0, -1, -1, -1)


@jit
def write_flip(flip: Flip, out: Floats) -> None:
    """As four numbers."""
    out[0], out[1], out[2], out[3] = flip.rate, flip.step, flip.a, flip.b
