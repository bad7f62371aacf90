"""Angularities against sums over particles, and their safety to soft and collinear emissions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice.errors import InputError
from djservice.fit.build import build_loss

OBSERVABLES = {
    "width": dj.observables.angularity(1.0, 1.0),
    "mass-like": dj.observables.angularity(1.0, 2.0, reference_radius=0.4),
    "log": dj.observables.log_angularity(),
    "dispersion": dj.observables.angularity(2.0, 0.0),
    "multiplicity": dj.observables.angularity(0.0, 0.0),
}
SAFE = ("width", "mass-like", "log")


def one_jet(*more: tuple[float, float, float], split: float | None = None) -> Any:
    """A jet of four massless particles and more of (pT, y, phi); the first may be split in two."""
    particles = [(50.0, 0.1, 3.1), (30.0, 0.3, -3.1), (10.0, -0.1, 2.9), (5.0, 0.2, -3.0), *more]
    if split is not None:
        (pt, y, phi), *rest = particles
        particles = [(split * pt, y, phi), ((1.0 - split) * pt, y, phi), *rest]
    pt, y, phi = np.array(particles).T
    return dj.EventBatch.from_arrays(
        pt=pt, rapidity=y, phi=phi, mass=np.zeros(len(pt)), offsets=[0, len(pt)]
    )


def value(name: str, events: Any) -> float:
    found = dj.expectation(events, OBSERVABLES[name], radius=1.0, rigidity=math.inf)
    return float(found.mean[0])


@pytest.mark.parametrize("name", OBSERVABLES)
def test_they_are_sums_over_particles(name: str) -> None:
    events = one_jet()
    (jet,) = dj.cluster_jets(events, radius=1.0)[0]
    total = 0.0
    for pt, y, phi in zip(events.pt, events.rapidity, events.phi, strict=True):
        z, dphi = pt / events.pt.sum(), (phi - jet.phi + math.pi) % (2 * math.pi) - math.pi
        r = math.hypot(y - jet.rapidity, dphi)
        total += {
            "width": z * r,
            "mass-like": z * (r / 0.4) ** 2,
            "log": z * math.log(1e-3 + r),
            "dispersion": z**2,
            "multiplicity": 1.0,
        }[name]
    assert value(name, events) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("name", OBSERVABLES)
def test_a_soft_particle_and_a_collinear_splitting(name: str) -> None:
    """Safe angularities change in proportion to the softness, and not at all by a splitting."""
    plain = value(name, one_jet())
    change = [abs(value(name, one_jet((pt, 0.4, -2.9))) / plain - 1.0) for pt in (1e-3, 1e-6)]
    split = value(name, one_jet(split=0.3)) / plain - 1.0
    assert (change[1] < 1e-6 and change[0] < 1e-3) == (name != "multiplicity")
    assert (abs(split) < 1e-12) == (name in SAFE)


def test_a_configuration_names_them(tiny_run: Any, tmp_path: Any) -> None:
    settings = tiny_run(tmp_path / "run.zarr")
    settings["loss"] = [
        {"observable": {"name": "angularity", "kappa": 1.0, "beta": 2.0, "jet": 1}, "target": 0.1},
        {"observable": "log_angularity", "target": -3.0},
    ]
    loss = build_loss(dj.Run.from_dict(settings))
    assert loss.jets == 2 and loss.needs_constituents


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: dj.observables.angularity(-1.0), "kappa is -1"),
        (lambda: dj.observables.angularity(beta=math.nan), "beta is nan"),
        (lambda: dj.observables.angularity(jet=-1), "jet is -1"),
        (lambda: dj.observables.angularity(reference_radius=0.0), "reference_radius is 0"),
        (lambda: dj.observables.log_angularity(c=0.0), "c is 0"),
        (lambda: dj.observables.log_angularity(reference_radius=-1.0), "reference_radius is -1"),
    ],
)
def test_what_has_no_meaning_is_refused(work: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        work()
