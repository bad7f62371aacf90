"""Tangents of jets: the Gumbel-softmax straight-through estimator of a tree (arXiv:1611.01144).

The draws of a tree are argmaxima of log P_k + g_k with Gumbel noises g. They are differentiated as
if they were the softmax at temperature T (:mod:`djservice.clustering.kernels.gumbel`).

The state has a row per particle. The row of larger pT holds the sum of a pair. Every row, and every
jet, has a tangent d(px, py, pz, E)/dR. Every step looks at all candidates, which is slow: this
estimator serves for comparison.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.gumbel import FIRST_DRAW, exponential_of, race, soften
from djservice.clustering.kernels.jit import entry, jit
from djservice.clustering.kernels.kinematics import (
    TWO_PI,
    asymmetry_factor,
    momentum_scale,
    rapidity,
)
from djservice.clustering.kernels.pseudojets import LARGE, Floats, Ints
from djservice.clustering.kernels.tree import Setting, truncation


class Rows(NamedTuple):
    """The state of one tree, and the candidates of one step.

    ``momentum``, ``tangent`` and ``change`` have shape (n, 4). ``q`` has shape (n, n): D R^2 of
    rows i < j, and that of the beam on the diagonal. ``live`` lists the live rows, rising, and
    ``row_of`` is the row of an object. ``d_log_d``, ``d_y`` and ``d_phi`` are derivatives in R.

    ``first`` = ``second`` is a beam. ``weight`` and ``slope`` hold w and d log w / dR, later the
    times of arrival and the dq. ``wait`` holds the exponentials from which the times are made.
    """

    momentum: Floats
    tangent: Floats
    change: Floats
    q: Floats
    pt2: Floats
    y: Floats
    phi: Floats
    d: Floats
    d_log_d: Floats
    d_y: Floats
    d_phi: Floats
    live: Ints
    row_of: Ints
    first: Ints
    second: Ints
    weight: Floats
    wait: Floats
    slope: Floats


def allocate_rows(n: int) -> Rows:
    """Rows for events of up to ``n`` particles: 24 n^2 bytes."""
    momentum, tangent, change = np.zeros((3, n, 4))
    pt2, y, phi, d, d_log_d, d_y, d_phi = np.zeros((7, n))
    first, second = np.zeros((2, n * (n + 1) // 2), np.int32)
    weight, wait, slope = np.zeros((3, len(first)))
    live, row_of = np.zeros(n, np.int32), np.zeros(2 * n, np.int32)
    return Rows(
        momentum, tangent, change, np.zeros((n, n)), pt2, y, phi, d, d_log_d, d_y, d_phi, live,
        row_of, first, second, weight, wait, slope,
    )  # fmt: skip


@jit
def set_distances(rows: Rows, r: int, m: int, radius: float) -> None:
    """Set the distances of row ``r`` to the live rows and to the beam."""
    for index in range(m):
        s = rows.live[index]
        i, j = min(r, s), max(r, s)
        if i == j:
            rows.q[r, r] = rows.d[r] * radius * radius
        else:
            dy, dphi = rows.y[i] - rows.y[j], folded(rows.phi[i] - rows.phi[j])
            rows.q[i, j] = min(rows.d[i], rows.d[j]) * (dy * dy + dphi * dphi)


@jit
def folded(dphi: float) -> float:
    """A difference of angles, folded into [-pi, pi]."""
    if dphi > math.pi:
        return dphi - TWO_PI
    return dphi + TWO_PI if dphi < -math.pi else dphi


@jit
def set_slopes(rows: Rows, r: int, power: float) -> None:
    """Set d log d, dy and dphi of row ``r`` from the tangent of its momentum."""
    px, py, pz, e = (
        rows.momentum[r, 0],
        rows.momentum[r, 1],
        rows.momentum[r, 2],
        rows.momentum[r, 3],
    )
    tx, ty, tz, te = rows.tangent[r, 0], rows.tangent[r, 1], rows.tangent[r, 2], rows.tangent[r, 3]
    pt2 = rows.pt2[r]
    transverse2 = max((e + pz) * (e - pz), pt2)
    rows.d_log_d[r] = 2.0 * power * (px * tx + py * ty) / pt2 if pt2 > 0.0 and power != 0.0 else 0.0
    rows.d_phi[r] = (px * ty - py * tx) / pt2 if pt2 > 0.0 else 0.0
    rows.d_y[r] = (e * tz - pz * te) / transverse2 if transverse2 > 0.0 else 0.0


@jit
def distance_slope(rows: Rows, i: int, j: int, radius: float) -> float:
    """dq/dR of candidate (i, j), through the momenta and, for a beam, through R itself."""
    if i == j:
        return float(rows.q[i, i] * (rows.d_log_d[i] + 2.0 / radius))
    smaller = i if rows.d[i] <= rows.d[j] else j
    dy, dphi = rows.y[i] - rows.y[j], folded(rows.phi[i] - rows.phi[j])
    separation_slope = dy * (rows.d_y[i] - rows.d_y[j]) + dphi * (rows.d_phi[i] - rows.d_phi[j])
    return float(rows.q[i, j] * rows.d_log_d[smaller] + 2.0 * rows.d[smaller] * separation_slope)


@jit
def list_candidates(
    rows: Rows, m: int, a: int, b: int, radius: float, setting: Setting, length: float
) -> tuple[int, int, float]:
    """List the candidates that are not truncated, with their weights and slopes d log w / dR.

    Returns their number, the index of (a, b) among them, and the sum of the weights. The list is
    empty if the smallest distance is 0.
    """
    alpha, asymmetry = setting.rigidity, setting.asymmetry
    minimum = scale = math.inf
    least_i = least_j = scale_i = scale_j = 0
    for index_i in range(m):
        i = rows.live[index_i]
        for index_j in range(index_i, m):
            j = rows.live[index_j]
            q = rows.q[i, j]
            if q < minimum:
                minimum, least_i, least_j = q, i, j
            if asymmetry > 0.0 and q < scale:  # the measure is not below q
                measure = (
                    q * asymmetry_factor(rows.pt2[i], rows.pt2[j], asymmetry)
                    if i != j and q > 0.0
                    else q
                )
                if measure < scale:
                    scale, scale_i, scale_j = measure, i, j
    if minimum == 0.0:
        return 0, 0, 0.0
    minimum_slope = distance_slope(rows, least_i, least_j, radius)
    scale_slope = minimum_slope
    if asymmetry > 0.0:
        scale_slope = (
            distance_slope(rows, scale_i, scale_j, radius) * scale / rows.q[scale_i, scale_j]
        )
        if scale_i != scale_j:
            log_ratio_slope = log_pt_slope(rows, scale_i) - log_pt_slope(rows, scale_j)
            harder_is_i = rows.pt2[scale_i] >= rows.pt2[scale_j]
            scale_slope += (
                scale * asymmetry * (log_ratio_slope if harder_is_i else -log_ratio_slope)
            )
    else:
        scale = minimum
    count, chosen, norm = 0, 0, 0.0
    for index_i in range(m):
        i = rows.live[index_i]
        for index_j in range(index_i, m):
            j = rows.live[index_j]
            excess = (rows.q[i, j] - minimum) / scale
            is_drawn = i == a and j == b  # listed even if rounding puts it beyond the cut
            if alpha * excess <= length or is_drawn:
                if is_drawn:
                    chosen = count
                excess_slope = (
                    distance_slope(rows, i, j, radius) - minimum_slope - excess * scale_slope
                )
                rows.first[count], rows.second[count] = i, j
                rows.weight[count] = math.exp(-alpha * excess)
                rows.slope[count] = -alpha * excess_slope / scale
                norm += rows.weight[count]
                count += 1
    return count, chosen, norm


@jit
def log_pt_slope(rows: Rows, r: int) -> float:
    """d log pT / dR of row ``r``."""
    px, py, tx, ty = (
        rows.momentum[r, 0],
        rows.momentum[r, 1],
        rows.tangent[r, 0],
        rows.tangent[r, 1],
    )
    return float((px * tx + py * ty) / rows.pt2[r])


@jit
def spread(rows: Rows, count: int) -> None:
    """Add sum_k dq_k T_k(X) to the change of every row; T_k(X) are the momenta under candidate k.

    The dq sum to 0, so a candidate counts only for the rows that it changes.
    """
    for k in range(count):
        i, j, dq = rows.first[k], rows.second[k], rows.slope[k]
        survivor, removed = (i, j) if rows.pt2[i] >= rows.pt2[j] else (j, i)
        for c in range(4):
            part = dq * rows.momentum[removed, c]
            rows.change[removed, c] -= part
            if survivor != removed:
                rows.change[survivor, c] += part


@jit
def load_rows(particles: Floats, n: int, power: float, radius: float, rows: Rows) -> None:
    """Load the particles of an event, (pt, rapidity, phi, px, py, pz, E) each, without tangents."""
    for r in range(n):
        rows.live[r] = rows.row_of[r] = r
        rows.pt2[r] = particles[r, 0] * particles[r, 0]
        rows.y[r], rows.phi[r] = particles[r, 1], particles[r, 2]
        rows.d[r] = momentum_scale(rows.pt2[r], power)
        rows.d_log_d[r] = rows.d_y[r] = rows.d_phi[r] = 0.0
        for c in range(4):
            rows.momentum[r, c] = particles[r, 3 + c]
            rows.tangent[r, c] = 0.0
    for r in range(n):
        set_distances(rows, r, r + 1, radius)


@jit
def tree_tangents(
    n: int,
    particles: Floats,
    history: Ints,
    radius: float,
    setting: Setting,
    temperature: float,
    key: np.uint64,
    iteration: int,
    sample: int,
    rows: Rows,
    jets: Floats,
    jet_pt2: Floats,
) -> None:
    """Compute the tangents of the leading jets of one tree.

    Parameters
    ----------
    particles, history
        Shapes (n, 7) and (n, 2), in the order of the kernel.
    radius, setting, temperature
        R, the distribution that the tree was drawn from, and T.
    key, iteration, sample
        Key and counter of the tree's random numbers.
    jets, jet_pt2
        Output, shapes (jet, 4) and (jet,): tangents of the leading jets, NaN where there are fewer,
        and their pT^2.
    """
    load_rows(particles, n, setting.power, radius, rows)
    length = truncation(n, n >= LARGE)
    for index in range(len(jet_pt2)):
        jet_pt2[index] = -1.0
        for c in range(4):
            jets[index, c] = math.nan
    m = n
    for step in range(n):
        survivor = removed = int(rows.row_of[history[step, 0]])
        is_beam = history[step, 1] < 0
        if not is_beam:
            removed = int(rows.row_of[history[step, 1]])
            if rows.pt2[removed] > rows.pt2[survivor] or (
                rows.pt2[removed] == rows.pt2[survivor] and removed < survivor
            ):
                survivor, removed = removed, survivor
        a, b = min(survivor, removed), max(survivor, removed)
        count, chosen, norm = list_candidates(rows, m, a, b, radius, setting, length)
        for index in range(m):
            for c in range(4):
                rows.change[rows.live[index], c] = 0.0
        dq = 0.0
        if count > 0:
            for k in range(count):
                draw = FIRST_DRAW + int(rows.first[k]) * n + int(rows.second[k])
                rows.wait[k] = exponential_of(key, iteration, sample, step, draw)
            race(rows.weight, rows.wait, count, chosen, norm)
            soften(rows.weight, rows.slope, count, chosen, temperature)
            spread(rows, count)
            dq = float(rows.slope[chosen])
        # The removed row leaves the list of live rows.
        place = 0
        while rows.live[place] != removed:
            place += 1
        for index in range(place, m - 1):
            rows.live[index] = rows.live[index + 1]
        m -= 1
        for index in range(m):
            r = rows.live[index]
            for c in range(4):
                rows.tangent[r, c] += rows.change[r, c]
        if is_beam:
            for c in range(4):
                rows.tangent[removed, c] += dq * rows.momentum[removed, c]
            insert_tangent(rows, removed, jets, jet_pt2)
        else:
            for c in range(4):
                rows.momentum[survivor, c] += rows.momentum[removed, c]
                rows.tangent[survivor, c] += rows.tangent[removed, c]
            px, py, pz, e = (
                rows.momentum[survivor, 0],
                rows.momentum[survivor, 1],
                rows.momentum[survivor, 2],
                rows.momentum[survivor, 3],
            )
            rows.pt2[survivor] = px * px + py * py
            rows.y[survivor], rows.phi[survivor] = rapidity(px, py, pz, e), math.atan2(py, px)
            rows.d[survivor] = momentum_scale(rows.pt2[survivor], setting.power)
            rows.row_of[n + step] = survivor
            set_distances(rows, survivor, m, radius)
        for index in range(m):
            set_slopes(rows, rows.live[index], setting.power)


@jit
def insert_tangent(rows: Rows, r: int, jets: Floats, jet_pt2: Floats) -> None:
    """Insert the tangent of row ``r`` among those of the leading jets if it is hard enough."""
    place = n_jets = len(jet_pt2)
    while place > 0 and rows.pt2[r] > jet_pt2[place - 1]:
        place -= 1
    if place == n_jets:
        return
    for j in range(n_jets - 1, place, -1):
        jet_pt2[j] = jet_pt2[j - 1]
        for c in range(4):
            jets[j, c] = jets[j - 1, c]
    jet_pt2[place] = rows.pt2[r]
    for c in range(4):
        jets[place, c] = rows.tangent[r, c]


@entry
def tangents_of_trees(
    trees: int,
    particles: Floats,
    offsets: NDArray[np.int64],
    history: Ints,
    radii: Floats,
    setting: Setting,
    temperature: float,
    keys: NDArray[np.uint64],
    iteration: int,
    rows: Rows,
    jets: Floats,
    jet_pt2: Floats,
) -> None:
    """Compute the tangents of all trees of all events.

    ``jets`` is the output, shape (event * trees, jet, 4). ``jet_pt2`` is scratch.
    """
    for event in range(len(radii)):
        start, stop = offsets[event], offsets[event + 1]
        n = stop - start
        for tree in range(trees):
            row = start * trees + tree * n
            tree_tangents(
                n,
                particles[start:stop],
                history[row : row + n],
                radii[event],
                setting,
                temperature,
                keys[event],
                iteration,
                tree,
                rows,
                jets[event * trees + tree],
                jet_pt2,
            )
