"""The alternative path: the candidate that a step would have drawn at an infinitesimally larger R.

P_k is the probability of a candidate and s_k = d log P_k / d log R. When R grows, candidates with
s < 0 lose probability to those with s > 0. A step that drew k flips with the rate -s_k if that is
positive. It flips to a candidate drawn with probability proportional to P s+, where s+ = max(s, 0).

A tree keeps all its flips, or one. The one is drawn in proportion to the rates, whose sum is W.
"""

from __future__ import annotations

from typing import NamedTuple

from djservice.clustering.kernels.candidates import Workspace
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import natural
from djservice.clustering.kernels.pseudojets import Floats
from djservice.clustering.kernels.rows import part_of


class Flip(NamedTuple):
    """The sum of rates W so far, and the flip that is kept.

    ``step`` is its step, -1 if there is none. ``a`` and ``b`` are the ids of its candidate's
    objects, with b = -1 for a beam.
    """

    rate: float
    step: int
    a: int
    b: int


@jit
def gain(q: float, is_beam: bool, scale_is_beam: bool, mean: float) -> float:
    """s+ of a candidate, up to a factor that all candidates of the step share."""
    contrast = (0.0 if is_beam else q) - mean if scale_is_beam else mean - (q if is_beam else 0.0)
    return max(contrast, 0.0)


@jit
def flipped_candidate(
    workspace: Workspace,
    n_pairs: int,
    n_parts: int,
    n_beams: int,
    scale_is_beam: bool,
    mean: float,
    uniform: float,
) -> tuple[int, int]:
    """The candidate that a flip leads to, as ids (a, b).

    b = -1 stands for a beam. a = -1 says that no candidate gains.
    """
    beams, total = workspace.beams, 0.0
    for part in range(n_parts):
        pairs, count = part_of(workspace, natural(part), n_pairs)
        for k in range(count):
            total += pairs.w[k] * gain(pairs.q[k], False, scale_is_beam, mean)
    for k in range(n_beams):
        total += beams.w[k] * gain(beams.q[k], True, scale_is_beam, mean)
    target, a, b = uniform * total, -1, -1
    for part in range(n_parts):
        pairs, count = part_of(workspace, natural(part), n_pairs)
        for k in range(count):
            share = pairs.w[k] * gain(pairs.q[k], False, scale_is_beam, mean)
            if share > 0.0 and target >= 0.0:
                a, b = int(pairs.owner[k]), int(pairs.other[k])
                target = target - share if target >= share else -1.0
    for k in range(n_beams):
        share = beams.w[k] * gain(beams.q[k], True, scale_is_beam, mean)
        if share > 0.0 and target >= 0.0:
            a, b = int(beams.owner[k]), -1
            target = target - share if target >= share else -1.0
    return a, b


@jit
def no_flip() -> Flip:
    """The flip before the first step: rate 0, and nothing kept."""
    return Flip(0.0, -1, -1, -1)


@jit
def write_flip(flip: Flip, out: Floats) -> None:
    """Write a flip as four numbers."""
    out[0], out[1], out[2], out[3] = flip.rate, flip.step, flip.a, flip.b
