"""The scores of a step, d log P in several parameters at once.

The parameters are rho, R_min and R_max (a constant R is R_min), alpha and p. With x = q / S, where
q_min cancels in P, g = d log q / dt of each candidate, and g_S that of the scale:

    d log P_k / dt = -alpha / S [ q_k (g_k - g_S) - sum_l P_l q_l (g_l - g_S) ]
                                                        for rho, R_min, R_max and p
    d log P_k / d alpha = -(q_k - sum_l P_l q_l) / S

In log R, g is 2 for beams whose R is that parameter and 0 for all others. In p, g is 2 ln pT: of
the object of a beam, or of the object of a pair whose d is the smaller.
"""

from __future__ import annotations

from djservice.clustering.kernels.candidates import Workspace, index_of
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import natural
from djservice.clustering.kernels.pseudojets import EffectiveRadius, Floats, Pseudojets
from djservice.clustering.kernels.rows import part_of

RHO, LOW, HIGH, RIGIDITY, POWER = range(5)
N_SCORES = 5


@jit
def radius_parameter(radius: EffectiveRadius, pt2: float) -> int:
    """The parameter that sets the R of an object: RHO (over its pT), LOW or HIGH."""
    if radius.rho <= 0.0:
        return LOW
    square = radius.rho * radius.rho / pt2
    if square <= radius.low * radius.low:
        return LOW
    return HIGH if square >= radius.high * radius.high else RHO


@jit
def power_slope(pseudojets: Pseudojets, a: int, b: int, log_pt2: Floats) -> float:
    """d log q / dp of the pair in slots ``a`` and ``b``, or of the beam of ``a`` if ``b`` is -1."""
    smaller = b if b >= 0 and pseudojets.d[b] < pseudojets.d[a] else a
    return float(log_pt2[int(pseudojets.ident[smaller])])


@jit
def _pair_of_scale(
    workspace: Workspace, n_pairs: int, n_parts: int, scale: float, safe: bool
) -> tuple[int, int]:
    """The slots of the pair that sets the scale."""
    slots, a, b = workspace.scratch.slot, -1, -1
    for part in range(n_parts):
        pairs, count = part_of(workspace, natural(part), n_pairs)
        values, k = pairs.s if safe else pairs.q, 0
        while a < 0 and k < count:
            if values[k] == scale:
                a, b = int(slots[pairs.owner[k]]), int(slots[pairs.other[k]])
            k += 1
    return a, b


@jit
def candidate_scores(
    pseudojets: Pseudojets,
    radius: EffectiveRadius,
    rigidity: float,
    scale: float,
    scale_is_beam: bool,
    safe: bool,
    workspace: Workspace,
    n_pairs: int,
    n_parts: int,
    n_beams: int,
    norm: float,
    slot_a: int,
    slot_b: int,
    q: float,
    out: Floats,
) -> None:
    """Fill ``out``, shape (5,), with the scores of a candidate.

    It is (``slot_a``, ``slot_b``) and has the distance ``q``.
    """
    beams, scratch, slots = workspace.beams, workspace.scratch, workspace.scratch.slot
    mean = mean_power = 0.0
    out[RHO] = out[LOW] = out[HIGH] = 0.0
    for number in range(n_parts):
        pairs, count = part_of(workspace, natural(number), n_pairs)
        for k in range(count):
            part = pairs.w[k] * pairs.q[k] / norm
            mean += part
            mean_power += part * power_slope(
                pseudojets, slots[pairs.owner[k]], slots[pairs.other[k]], scratch.log_pt2
            )
    for k in range(n_beams):
        part = beams.w[k] * beams.q[k] / norm
        slot = slots[beams.owner[k]]
        mean += part
        mean_power += part * power_slope(pseudojets, slot, -1, scratch.log_pt2)
        out[radius_parameter(radius, pseudojets.pt2[slot])] += (
            part  # sum of P q over the beams of each
        )
    if scale_is_beam:
        scale_a, scale_b = int(slots[beams.owner[index_of(beams.q, scale)]]), -1
    else:
        scale_a, scale_b = _pair_of_scale(workspace, n_pairs, n_parts, scale, safe)
    scale_parameter = radius_parameter(radius, pseudojets.pt2[scale_a]) if scale_is_beam else -1
    drawn_parameter = radius_parameter(radius, pseudojets.pt2[slot_a]) if slot_b < 0 else -1
    rate = rigidity / scale
    for parameter in range(RIGIDITY):
        drawn_part = q if parameter == drawn_parameter else 0.0
        contrast = q - mean if parameter == scale_parameter else 0.0
        out[parameter] = -2.0 * rate * (drawn_part - out[parameter] - contrast)
    out[RIGIDITY] = -(q - mean) / scale
    scale_power_slope = power_slope(pseudojets, scale_a, scale_b, scratch.log_pt2)
    drawn_power_slope = power_slope(pseudojets, slot_a, slot_b, scratch.log_pt2)
    out[POWER] = -rate * (q * drawn_power_slope - mean_power - scale_power_slope * (q - mean))
