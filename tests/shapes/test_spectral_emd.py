"""The spectral distance: closed forms, transport on a line by brute force, and invariance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import djservice as dj


def jets(most: int = 6) -> st.SearchStrategy[Any]:
    def made(n: int) -> st.SearchStrategy[Any]:
        pt = arrays(float, n, elements=st.floats(1e-2, 10.0))
        place = arrays(float, (n, 2), elements=st.floats(-1.0, 1.0))
        return st.builds(lambda pt, place: np.column_stack([pt, place]), pt, place)

    return st.integers(1, most).flatmap(made)


def pair(z: float, apart: float) -> np.ndarray:
    """Two particles with the shares z and 1 - z."""
    return np.array([[z, 0.0, 0.0], [1.0 - z, apart, 0.0]])


def brute_force(a: np.ndarray, b: np.ndarray, beta: float, radius: float) -> float:
    """Transport between all ordered pairs of particles, by quantiles on a fine grid of breaks."""
    lines = []
    for x in (a, b):
        z = x[:, 0] / x[:, 0].sum()
        omega = np.hypot(x[:, 1, None] - x[:, 1], x[:, 2, None] - x[:, 2]) ** beta / (
            beta * radius**beta
        )
        order = np.argsort(omega.ravel())
        lines.append((omega.ravel()[order], np.cumsum(np.outer(z, z).ravel()[order])))
    breaks = np.unique(np.concatenate([reached for _, reached in lines]))
    middle = 0.5 * (breaks + np.append(0.0, breaks[:-1]))
    at = [
        omega[np.minimum(np.searchsorted(reached, middle), len(omega) - 1)]
        for omega, reached in lines
    ]
    return float((np.diff(np.append(0.0, breaks)) * (at[0] - at[1]) ** 2).sum())


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_closed_forms(beta: float) -> None:
    """Of two pairs: the lighter spectrum reaches up to 2 z (1 - z) from above."""
    for (z, s), (w, t) in (
        ((0.5, 0.4), (0.5, 0.9)),
        ((0.1, 0.4), (0.3, 0.9)),
        ((0.2, 0.7), (1.0 - 1e-12, 0.3)),
    ):
        u, v = 2.0 * z * (1.0 - z), 2.0 * w * (1.0 - w)
        x, y = s**beta / beta, t**beta / beta
        exact = min(u, v) * (x - y) ** 2 + max(u - v, 0.0) * x**2 + max(v - u, 0.0) * y**2
        found = dj.spectral_emd(pair(z, s), pair(w, t), radius=1.0, beta=beta)
        assert found == pytest.approx(exact, rel=1e-9)
        halved = dj.spectral_emd(10.0 * pair(z, s), 10.0 * pair(w, t), radius=10.0, beta=beta)
        assert halved == pytest.approx(100.0 * exact, rel=1e-9)


def test_a_point_and_a_ring() -> None:
    """Distances of random points of a ring have the mean square 2 r^2, and to a point they are 0."""
    number = 100
    angle = 2.0 * math.pi * np.arange(number) / number
    ring = np.column_stack([np.ones(number), 0.3 * np.cos(angle), 0.3 * np.sin(angle)])
    point = np.array([[1.0, 0.0, 0.0]])
    found = dj.spectral_emd(ring, point, radius=1.0, norm=True)
    assert found == pytest.approx(2.0 * 0.3**2, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(jets(), jets(), jets(), st.sampled_from([0.5, 1.0, 2.0]), st.floats(0.0, 6.0))
def test_axioms_and_invariance(a: Any, b: Any, c: Any, beta: float, angle: float) -> None:
    def distance(x: Any, y: Any) -> float:
        return dj.spectral_emd(x, y, radius=0.5, beta=beta, norm=True)

    value = distance(a, b)
    near = pytest.approx(value, rel=1e-7, abs=1e-9)
    assert value == pytest.approx(brute_force(a, b, beta, 0.5), rel=1e-6, abs=1e-9)
    assert distance(a, a) == 0.0
    assert distance(b, a) == near
    roots = [math.sqrt(distance(x, y)) for x, y in ((a, c), (a, b), (b, c))]
    assert roots[0] <= roots[1] + roots[2] + 1e-6
    turn = np.array([[math.cos(angle), math.sin(angle)], [math.sin(angle), -math.cos(angle)]])
    moved = np.column_stack([a[:, 0], a[:, 1:] @ turn + (5.0, 1.0)])
    assert distance(moved, b) == near
    split = np.concatenate([a, a[:1]])
    split[[0, -1], 0] *= (0.3, 0.7)
    assert distance(split, b) == near
