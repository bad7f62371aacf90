"""d log P of a step in several parameters at once: rho, R_min and R_max (a constant R is R_min), alpha and p.

With x = q / S, the exponent's q_min cancelling in P, and g = d log q / dt of each option (g_S that of the scale),

    d log P_k / dt = -alpha / S [ q_k (g_k - g_S) - sum_l P_l q_l (g_l - g_S) ]        for rho, R_min, R_max and p
    d log P_k / d alpha = -(q_k - sum_l P_l q_l) / S

In log R, g is 2 for the beams whose R is that parameter and 0 for all others; in p it is 2 ln pT of a beam's object, and
of the object of a pair whose d is the smaller.
"""

from __future__ import annotations

from djservice.clustering.kernels.candidates import Options, Scratch, index_of
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.pseudojets import Floats, Objects, Reach

RHO, LOW, HIGH, RIGIDITY, POWER = range(5)
SLOPES = 5


@jit
def radius_parameter(reach: Reach, pt2: float) -> int:
    """Which parameter the R of an object is: RHO (over its pT), LOW or HIGH."""
    if reach.rho <= 0.0:
        return LOW
    square = reach.rho * reach.rho / pt2
    if square <= reach.low * reach.low:
        return LOW
    return HIGH if square >= reach.high * reach.high else RHO


@jit
def power_slope(objects: Objects, a: int, b: int, log_pt2: Floats) -> float:
    """d log q / dp of the pair in slots ``a`` and ``b``, or of the beam option of ``a`` if ``b`` is -1."""
    smaller = b if b >= 0 and objects.d[b] < objects.d[a] else a
    return float(log_pt2[int(objects.ident[smaller])])


@jit
def step_slopes(
    objects: Objects,
    reach: Reach,
    rigidity: float,
    scale: float,
    scale_is_beam: bool,
    safe: bool,
    pairs: Options,
    n_pairs: int,
    beams: Options,
    n_beams: int,
    norm: float,
    slot_a: int,
    slot_b: int,
    q: float,
    scratch: Scratch,
    out: Floats,
) -> None:
    """Fill ``out``, shape (5,), with the slopes of the option (``slot_a``, ``slot_b``) of distance ``q``."""
    slots = scratch.slot
    mean = mean_power = 0.0
    out[RHO] = out[LOW] = out[HIGH] = 0.0
    for k in range(n_pairs):
        part = pairs.w[k] * pairs.q[k] / norm
        mean += part
        mean_power += part * power_slope(
            objects, slots[pairs.owner[k]], slots[pairs.other[k]], scratch.log_pt2
        )
    for k in range(n_beams):
        part = beams.w[k] * beams.q[k] / norm
        slot = slots[beams.owner[k]]
        mean += part
        mean_power += part * power_slope(objects, slot, -1, scratch.log_pt2)
        out[radius_parameter(reach, objects.pt2[slot])] += part  # sum of P q over the beams of each
    at = index_of(beams.q if scale_is_beam else (pairs.s if safe else pairs.q), scale)
    scale_a = slots[beams.owner[at] if scale_is_beam else pairs.owner[at]]
    scale_b = -1 if scale_is_beam else slots[pairs.other[at]]
    of_scale = radius_parameter(reach, objects.pt2[scale_a]) if scale_is_beam else -1
    of_drawn = radius_parameter(reach, objects.pt2[slot_a]) if slot_b < 0 else -1
    rate = rigidity / scale
    for parameter in range(RIGIDITY):
        own = q if parameter == of_drawn else 0.0
        contrast = q - mean if parameter == of_scale else 0.0
        out[parameter] = -2.0 * rate * (own - out[parameter] - contrast)
    out[RIGIDITY] = -(q - mean) / scale
    of_scale_power = power_slope(objects, scale_a, scale_b, scratch.log_pt2)
    own_power = power_slope(objects, slot_a, slot_b, scratch.log_pt2)
    out[POWER] = -rate * (q * own_power - mean_power - of_scale_power * (q - mean))
