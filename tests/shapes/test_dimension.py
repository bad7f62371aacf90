"""Nearest neighbours and correlation dimension: known samples, errors that are right, degenerate matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from djservice.errors import InputError
from djservice.shapes.dimension import geometry


def apart(points: Any) -> np.ndarray:
    points = np.asarray(points, float).reshape(len(points), -1)
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=-1))


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_dimension_of_a_cube(dimension: int) -> None:
    """Small distances within a torus have its dimension."""
    points = np.random.default_rng(dimension).random((600, dimension))
    away = np.abs(points[:, None] - points[None])
    found = geometry(np.sqrt((np.minimum(away, 1.0 - away) ** 2).sum(axis=-1)))
    small = found.scale < 0.3
    z = (found.dimension.value[small] - dimension) / found.dimension.error[small]
    assert small.sum() >= 8 and np.abs(z).max() < 4.0 and z.std() < 2.0
    assert found.dimension.value[small][-1] == pytest.approx(dimension, rel=0.05)


def test_errors_are_the_spread_of_samples() -> None:
    rng = np.random.default_rng(4)
    found = [geometry(apart(rng.normal(size=(80, 2)))) for _ in range(60)]
    for name in ("mean", "mean_nearest"):
        estimates = [getattr(each, name) for each in found]
        spread = np.std([each.value[0] for each in estimates], ddof=1)
        assert np.median([each.error[0] for each in estimates]) == pytest.approx(spread, rel=0.35)


def test_neighbours_by_hand() -> None:
    found = geometry(apart([0.0, 1.0, 1.5, 4.0]))
    assert found.nearest.tolist() == [1.0, 0.5, 0.5, 2.5]
    assert found.neighbour.tolist() == [1, 2, 1, 2]
    assert found.mean_nearest.value[0] == pytest.approx(4.5 / 4)
    assert found.mean.value[0] == pytest.approx((1 + 1.5 + 4 + 0.5 + 3 + 2.5) / 6)


@pytest.mark.parametrize("points", [[0.0, 1.0], [0.0, 0.0], [1.0] * 30, [0.0] * 29 + [1.0]])
def test_degenerate_samples_have_no_dimension(points: list[float]) -> None:
    found = geometry(apart(points))
    assert not np.isfinite(found.dimension.value).any()
    assert np.isfinite(found.mean.value).all()


def test_too_few() -> None:
    with pytest.raises(InputError, match="1 jet: distances need 2 or more"):
        geometry(np.zeros((1, 1)))
