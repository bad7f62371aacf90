"""The distance by transport: closed forms, axioms of a metric, invariance, what may be given, and refusals."""

from __future__ import annotations

import math
import sys
from typing import Any

import awkward as ak
import numpy as np
import pytest
import vector
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import djservice as dj
from djservice.errors import InputError, MissingPackageError, RunError
from djservice.shapes import transport as transport_module
from djservice.shapes.ground import Ground
from djservice.shapes.matrix import Group, block
from djservice.shapes.transport import transport

POINTS = 200


def cloud(y: Any, phi: Any, weight: Any = None) -> np.ndarray:
    """Points of equal weight, with the sum 1, unless weights are given."""
    y, phi = np.broadcast_arrays(np.atleast_1d(y).astype(float), phi)
    return np.column_stack([np.full(len(y), 1.0 / len(y)) if weight is None else weight, y, phi])


def ring(radius: float, number: int = POINTS) -> np.ndarray:
    angle = 2.0 * math.pi * (np.arange(number) + 0.5) / number
    return cloud(radius * np.cos(angle), radius * np.sin(angle))


def disk(radius: float, number: int = POINTS) -> np.ndarray:
    k = np.arange(number) + 0.5
    r, angle = radius * np.sqrt(k / number), k * math.pi * (3.0 - math.sqrt(5.0))
    return cloud(r * np.cos(angle), r * np.sin(angle))


def shifted(points: Any, y: float, phi: float) -> np.ndarray:
    return np.add(points, (0.0, y, phi))


def ellipse(long: float, short: float) -> np.ndarray:
    return disk(1.0) * (1.0, long, short)


POINT = cloud(0.0, 0.0)
#: Name: two shapes, the exact distances for beta 1 and 2, and the error of the points.
CLOSED: dict[str, tuple[Any, Any, float | None, float, float]] = {
    "point, disk": (POINT, disk(0.6), 0.4, 0.09, 1e-3),
    "point, ring": (POINT, ring(0.6), 0.6, 0.18, 1e-12),
    "two rings": (ring(0.3), ring(0.7), 0.4, 0.08, 1e-12),
    "disk, ring": (disk(1.0), ring(1.0), 1.0 / 3.0, 1.0 / 12.0, 1e-2),
    "shift": (disk(0.5, 60), shifted(disk(0.5, 60), 0.3, 0.4), 0.5, 0.125, 1e-12),
    "ellipse, disk": (ellipse(1.0, 0.6), disk(1.0), None, 0.02, 5e-3),
    "two points, ring": (cloud([-1.0, 1.0], 0.0), ring(2.0 / math.pi), None, 0.5 * (1.0 - 4.0 / math.pi**2), 1e-4),
    "two points, disk": (cloud([-1.0, 1.0], 0.0), disk(8.0 / (3.0 * math.pi)), None, 0.5 * (1.0 - 0.5 * (8.0 / (3.0 * math.pi)) ** 2), 2e-3),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name: str) -> None:
    a, b, first, second, error = CLOSED[name]
    for beta, exact in ((1.0, first), (2.0, second)):
        if exact is not None:
            assert dj.emd(a, b, radius=1.0, beta=beta) == pytest.approx(exact, rel=3 * error)
            scaled = dj.emd(a * (7.0, 0.5, 0.5), b * (7.0, 0.5, 0.5), radius=0.5, beta=beta)
            assert scaled == pytest.approx(7.0 * exact, rel=3 * error)


def jets(least: int = 1, most: int = 6) -> st.SearchStrategy[Any]:
    def made(n: int) -> st.SearchStrategy[Any]:
        pt = arrays(float, n, elements=st.floats(1e-3, 100.0))
        place = arrays(float, (n, 2), elements=st.floats(-1.5, 1.5))
        return st.builds(lambda pt, place: np.column_stack([pt, place]), pt, place)

    return st.integers(least, most).flatmap(made)


BETAS = st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0])


@settings(max_examples=30, deadline=None)
@given(jets(), jets(), jets(), BETAS, st.booleans())
def test_axioms_of_a_metric(a: Any, b: Any, c: Any, beta: float, norm: bool) -> None:
    radius = 5.0 if beta <= 1.0 else 1.0  # no distance is above R (2 beta)^(1 / beta)
    if beta > 1.0:
        norm = True

    def root(x: Any, y: Any) -> float:
        return float(dj.emd(x, y, radius=radius, beta=beta, norm=norm) ** (1.0 / max(beta, 1.0)))

    scale = max(root(a, b), root(b, c), 1e-3)
    assert root(a, a) <= 1e-6 * scale
    assert root(a, b) == pytest.approx(root(b, a), rel=1e-9, abs=1e-6)
    assert root(a, c) <= root(a, b) + root(b, c) + 1e-6 * scale


@settings(max_examples=25, deadline=None)
@given(jets(), jets(), BETAS, st.floats(-3.0, 3.0), st.floats(0.0, 6.0))
def test_what_changes_nothing(a: Any, b: Any, beta: float, shift: float, angle: float) -> None:
    def distance(x: Any, y: Any, **more: Any) -> float:
        return dj.emd(x, y, radius=0.8, beta=beta, **more)

    value = distance(a, b, periodic_phi=False)
    about = pytest.approx(value, rel=1e-9, abs=1e-9)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    if np.abs(np.concatenate([a, b])[:, 1:] @ turn).max() < math.pi:
        turned = [np.column_stack([x[:, 0], x[:, 1:] @ turn]) for x in (a, b)]
        assert distance(*turned, periodic_phi=False) == about
    assert distance(shifted(a, shift, 0.0), shifted(b, shift, 0.0), periodic_phi=False) == about
    around = distance(a, b)
    assert distance(shifted(a, 0.0, shift), shifted(b, 0.0, shift)) == pytest.approx(
        around, rel=1e-9, abs=1e-9
    )
    split = np.concatenate([a, a[:1]])
    split[[0, -1], 0] *= (0.3, 0.7)
    assert distance(split, b, periodic_phi=False) == about
    order = np.random.default_rng(1).permutation(len(a))
    assert distance(a[order], b, periodic_phi=False) == about


@settings(max_examples=25, deadline=None)
@given(jets(), jets(), BETAS, st.floats(1e-9, 1e-2))
def test_a_soft_particle_changes_little(a: Any, b: Any, beta: float, soft: float) -> None:
    with_soft = np.concatenate([a, [[soft, 1.4, -1.4]]])
    change = abs(dj.emd(with_soft, b, radius=1.0, beta=beta) - dj.emd(a, b, radius=1.0, beta=beta))
    assert change <= soft * (1.0 + 2.0 * math.hypot(2.9, 2.9) ** beta / beta) + 1e-9


def brute_force(a: Any, b: Any, radius: float, beta: float) -> float:
    """The definition with its inequalities, as a linear programme."""
    from scipy.optimize import linprog

    n, m = len(a), len(b)
    cost = np.hypot(a[:, 1, None] - b[:, 1], a[:, 2, None] - b[:, 2]) ** beta / (
        beta * radius**beta
    )
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    moved = linprog(
        cost.ravel(),
        A_ub=np.concatenate([rows, columns]),
        b_ub=np.concatenate([a[:, 0], b[:, 0]]),
        A_eq=np.ones((1, n * m)),
        b_eq=[min(a[:, 0].sum(), b[:, 0].sum())],
    )
    return float(moved.fun + abs(a[:, 0].sum() - b[:, 0].sum()))


@settings(max_examples=15, deadline=None)
@given(jets(most=5), jets(most=5), st.sampled_from([1.0, 2.0]))
def test_unequal_sums_are_those_of_the_definition(a: Any, b: Any, beta: float) -> None:
    found = dj.emd(a, b, radius=0.4, beta=beta, periodic_phi=False, plan=True)
    assert found.value == pytest.approx(brute_force(a, b, 0.4, beta), rel=1e-6, abs=1e-6)
    assert found.plan.shape == (len(a), len(b)) and (found.plan >= 0.0).all()
    assert found.plan.sum() == pytest.approx(min(a[:, 0].sum(), b[:, 0].sum()))
    assert (found.plan.sum(axis=1) <= a[:, 0] * (1 + 1e-9)).all()
    assert (found.plan.sum(axis=0) <= b[:, 0] * (1 + 1e-9)).all()


def test_conventions() -> None:
    left, right = cloud(0.0, math.pi - 0.1), cloud(0.0, -math.pi + 0.1)
    assert dj.emd(left, right, radius=1.0) == pytest.approx(0.2)
    assert dj.emd(left, shifted(right, 0.0, 6.0 * math.pi), radius=1.0) == pytest.approx(0.2)
    far = dj.emd(left, right, radius=1.0, periodic_phi=False)
    assert far == pytest.approx(2.0 * math.pi - 0.2)
    assert dj.emd(left, left * (3.0, 1.0, 1.0), radius=1.0) == pytest.approx(2.0)
    assert dj.emd(left, left * (3.0, 1.0, 1.0), radius=1.0, norm=True) == 0.0
    pair = cloud([0.0, 0.4], [3.1, -3.1], [1.0, 3.0])
    moved = shifted(pair, 2.0, 1.5)
    assert dj.emd(pair, moved, radius=1.0) > 1.0
    assert dj.emd(pair, moved, radius=1.0, centre=True) == pytest.approx(0.0, abs=1e-12)
    assert dj.emd(cloud(0.3, 0.1), cloud(-1.0, 2.0), radius=1.0, centre=True) == 0.0


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 10.0])
def test_scales_do_not_matter(beta: float) -> None:
    """From the smallest R and pT to the largest."""
    rng = np.random.default_rng(3)
    a, b = (
        np.column_stack([rng.exponential(size=12), *rng.uniform(-1.5, 1.5, size=(2, 12))])
        for _ in range(2)
    )
    for function, power in ((dj.emd, 1), (dj.spectral_emd, 2)):
        expected = function(a, b, radius=1.0, beta=beta, norm=True)
        for radius in (1e-6, 1e3):
            found = function(a, b, radius=radius, beta=beta, norm=True)
            assert found * radius ** (power * beta) == pytest.approx(expected, rel=1e-9)
        narrow = [x * (1.0, 1e-6, 1e-6) for x in (a, b)]
        found = function(*narrow, radius=1e-6, beta=beta, norm=True)
        assert found == pytest.approx(expected, rel=1e-9)
        equal = b * (a[:, 0].sum() / b[:, 0].sum(), 1.0, 1.0)
        expected = function(a, equal, radius=1.0, beta=beta)
        for factor in (1e-140, 1e140):
            x, y = a * (factor, 1.0, 1.0), equal * (factor, 1.0, 1.0)
            found = function(x, y, radius=1.0, beta=beta)
            assert found / factor**power == pytest.approx(expected, rel=1e-9)


def test_what_may_be_given() -> None:
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=1.0), entries=(0, 2))
    one, two = events.select([0]), events.select([1])
    rows = [np.column_stack([x.pt, x.rapidity, x.phi]) for x in (one, two)]
    expected = dj.emd(*rows, radius=1.0)
    assert dj.emd(one, two, radius=1.0) == expected
    fields = [
        {"pt": x.pt, "rapidity": x.rapidity, "phi": x.phi, "mass": x.mass} for x in (one, two)
    ]
    records = [ak.zip(field) for field in fields]
    assert dj.emd(*records, radius=1.0) == expected
    vectors = [vector.array({k: v for k, v in f.items() if k != "rapidity"} | {"eta": np.arcsinh(np.sinh(f["rapidity"]) * np.hypot(1.0, f["mass"] / f["pt"]))}) for f in fields]  # fmt: skip
    assert dj.emd(*vectors, radius=1.0) == pytest.approx(expected, rel=1e-9)
    assert dj.emd(rows[0].tolist(), rows[1].astype(np.float32), radius=1.0) == pytest.approx(
        expected, rel=1e-6
    )

    particles = ak.Array([records[0].tolist()])
    jet = dj.cluster_jets(particles, radius=0.8)[0, 0]
    of_jet = particles[0][jet.constituents]
    assert dj.emd(of_jet, rows[0][ak.to_numpy(jet.constituents)], radius=0.8) == 0.0
    before = rows[0].copy()
    dj.emd(rows[0], rows[1], radius=1.0, norm=True, centre=True)
    np.testing.assert_array_equal(rows[0], before)


GOOD = np.array([[1.0, 0.0, 0.0], [2.0, 0.1, 0.3]])


@pytest.mark.parametrize("function", [dj.emd, dj.spectral_emd], ids=["emd", "spectral_emd"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.empty((0, 3)), "b has no particles"),
        ([], "b has no particles"),
        (GOOD * (1.0, math.nan, 1.0), "b, particle 0: pt 1, rapidity nan.*2 such"),
        (shifted(GOOD, 0.0, math.inf), "b, particle 0: .* phi inf"),
        (shifted(GOOD, 1e200, 0.0), "b, particle 0: .* rapidity 1e.200"),
        (GOOD * (1e200, 1.0, 1.0), "b, particle 0: pt 1e.200"),
        (GOOD - (2.0, 0.0, 0.0), r"b, particle 0: pt -1.*expected a positive pt below"),
        (GOOD * ([0.0], [1.0]), "b, particle 0: pt 0.*Leave out padding"),
        (GOOD[:, :2], r"b: expected rows of pt, rapidity and phi.*shape \(2, 2\)"),
        (GOOD[0], r"found shape \(3,\)"),
        ("jet", "b: expected numbers in pt, rapidity and phi"),
        (np.ma.masked_less(GOOD, 0.2), "masked values"),
        (ak.Array([[{"pt": 1.0, "rapidity": 0.0, "phi": 0.0, "mass": 0.0}]]), "of one event or jet"),
        (ak.Array([3, 1, 4]), r"found 3 \* int64, which has no momenta.*particles\[i\]\[jets"),
        (ak.Array([{"pt": 1.0, "phi": 0.0}]), "expected one list per event of records"),
        (ak.Array([{"pt": math.nan, "rapidity": 0.0, "phi": 0.0, "mass": 0.0}]), "pt"),
        (vector.array({"px": [1.0], "py": [0.0], "pz": [0.0], "E": [1.0]})[:, None], r"found \(1, 1\)"),
        (vector.array({"px": [0.0], "py": [0.0], "pz": [1.0], "E": [1.0]}), "b, particle 0: pt 0"),
        (dj.EventBatch.from_arrays(pt=[1.0], rapidity=[0.0], phi=[0.0], mass=[0.0], offsets=[0, 1, 1]), "expected one event, found 2"),
    ],
)  # fmt: skip
def test_bad_particles(function: Any, bad: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        function(GOOD, bad, radius=1.0, norm=True)


@pytest.mark.parametrize("function", [dj.emd, dj.spectral_emd], ids=["emd", "spectral_emd"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radius": 0.0}, "radius is 0.0, expected a positive number"),
        ({"radius": "0.8"}, "radius is '0.8'"),
        ({"beta": 0.0}, "beta is 0.0, expected a number above 0"),
        ({"beta": math.nan}, "beta is nan"),
        ({"beta": 11.0}, "beta is 11.0"),
        ({"norm": 1}, "norm is 1, expected True or False"),
        ({"periodic_phi": "no"}, "periodic_phi is 'no'"),
    ],
)
def test_bad_arguments(function: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        function(GOOD, GOOD, **{"radius": 1.0, **arguments})
    with pytest.raises(TypeError, match="unknown argument bta"):
        function(GOOD, GOOD, radius=1.0, bta=1.0)


def test_unequal_sums_are_never_scaled_in_silence() -> None:
    with pytest.raises(RunError, match="unequal sums, 3 and 4"):
        transport(np.array([1.0, 2.0]), np.array([4.0]), np.ones((2, 1)))
    with pytest.raises(InputError, match=r"sums of pt are 3 and 6 GeV.*norm=True"):
        dj.spectral_emd(GOOD, GOOD * (2.0, 1.0, 1.0), radius=1.0)


@pytest.mark.filterwarnings("ignore:numItermax reached")
def test_a_solver_that_fails_or_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "_MOST_STEPS", 1)
    with pytest.raises(RunError, match="no optimal transport between 200 and 200 points"):
        dj.emd(disk(1.0), disk(0.3), radius=1.0)
    transport_module._solver.cache_clear()
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(MissingPackageError, match=r"djservice\[shapes\]"):
        dj.emd(GOOD, GOOD, radius=1.0)


@pytest.mark.parametrize("kind", ["emd", "spectral"])
@pytest.mark.parametrize("norm", [True, False])
def test_a_block_is_the_distances_one_by_one(kind: Any, norm: bool) -> None:
    rng = np.random.default_rng(5)
    sizes = (1, 7, 3, 5, 2)
    sample = [
        np.column_stack([rng.exponential(size=n) + 0.1, *rng.normal(size=(2, n))]) for n in sizes
    ]
    if kind == "spectral" and not norm:
        sample = [x / (x[:, 0].sum(), 1.0, 1.0) for x in sample]
    function = dj.emd if kind == "emd" else dj.spectral_emd
    expected = np.array(
        [[function(x, y, radius=0.7, beta=1.5, norm=norm) for y in sample] for x in sample]
    )
    ground = Ground(0.7, 1.5, norm)
    whole = Group.of(sample, ground, kind)
    np.testing.assert_allclose(
        block(whole, whole, ground, diagonal=True), expected, rtol=1e-9, atol=1e-12
    )
    parts = [Group.of(part, ground, kind) for part in (sample[:2], sample[2:])]
    np.testing.assert_allclose(
        block(*parts, ground, diagonal=False), expected[:2, 2:], rtol=1e-9, atol=1e-12
    )
