"""Weights of particles as functions of their features: derivatives, what each sees, which are known, bad input."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice.errors import ConfigError, InputError
from djservice.weight_models.base import WeightModel
from djservice.weight_models.builtin import Constant, Logistic, Monotone
from djservice.weight_models.features import (
    ParticleFeature,
    abs_eta,
    charged_density,
    density,
    field,
    log_pt,
    pseudorapidity,
)
from djservice.weight_models.named import weighting_of
from djservice.weight_models.weighting import EDGES, SMALLEST, Weighting, Weights, profile

OFFSETS = np.array([0, 4, 4, 9])


def small(features: int) -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(features, 3), nn.Tanh(), nn.Linear(3, 1))


class Each(dj.WeightModel):
    """One of a user's own: a parameter for the square of each feature."""

    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        return (*features, "bias")

    def start(self, features: int, seed: int) -> Any:
        return np.zeros(features + 1)

    def height(self, features: Any, theta: Any, offsets: Any) -> Any:
        return np.einsum("pi,i->p", features**2, theta[:-1]) + theta[-1]

    def pull_back(self, features: Any, theta: Any, offsets: Any, slopes: Any) -> Any:
        columns = np.concatenate([features**2, np.ones((len(features), 1))], axis=1)
        return np.stack(
            [np.einsum("pi,pc->ic", columns[a:b], slopes[a:b]) for a, b in pairwise(offsets)]
        )


#: A new model is tested by adding a row.
MODELS = [Constant(), Logistic(), Monotone(knots=2), Each(), dj.TorchWeights(small)]


@pytest.fixture(params=MODELS, ids=lambda model: type(model).__name__)
def model(request: pytest.FixtureRequest, requires: Callable[[str, object], None]) -> WeightModel:
    if isinstance(request.param, dj.TorchWeights):
        requires("torch (pip install 'djservice[torch]')", find_spec("torch"))
    chosen: WeightModel = request.param
    return chosen


def test_a_model_has_its_derivatives(model: WeightModel) -> None:
    rng = np.random.default_rng(1)
    features, slopes = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    theta = rng.normal(size=len(model.names("abc")))
    pulled = model.pull_back(features, theta, OFFSETS, slopes)
    assert pulled.shape == (3, len(theta), 2)
    assert (pulled[1] == 0.0).all()  # of the event without particles
    for i, unit in enumerate(np.eye(len(theta))):
        up, down = (model.height(features, theta + s * unit, OFFSETS) for s in (1e-6, -1e-6))
        each = slopes * ((up - down) / 2e-6)[:, np.newaxis]
        expected = [each[:4].sum(axis=0), each[4:4].sum(axis=0), each[4:].sum(axis=0)]
        np.testing.assert_allclose(pulled[:, i], expected, rtol=1e-6, atol=1e-8)


def test_it_begins_with_one_weight_for_all(model: WeightModel) -> None:
    weighting = Weighting(model, (log_pt, abs_eta), tracker_eta=None)
    prepared = weighting.prepare(events())
    weights = Weights(weighting, weighting.start(0.7, 3))
    assert weights.of(prepared) == pytest.approx(np.full(6, 0.7), rel=1e-12)
    assert len(weights.theta) == len(weighting.names)


def test_an_event_has_the_same_bits_beside_others(model: WeightModel) -> None:
    rng = np.random.default_rng(2)
    features, slopes = rng.normal(size=(9, 3)), rng.normal(size=(9, 1))
    theta, alone = rng.normal(size=len(model.names("abc"))), np.array([0, 5])
    height = model.height(features, theta, OFFSETS)[4:]
    assert (model.height(features[4:], theta, alone) == height).all()
    pulled = model.pull_back(features, theta, OFFSETS, slopes)[2:]
    assert (model.pull_back(features[4:], theta, alone, slopes[4:]) == pulled).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_monotone_model_rises_or_falls(sign: float) -> None:
    model, x = Monotone(knots=4), np.linspace(-4.0, 4.0, 200)
    shape = np.random.default_rng(4).normal(0.0, 1.5, 4)
    theta = np.array([sign * 0.8, *shape, 0.2])
    height = model.height(x[:, np.newaxis], theta, np.array([0, 200]))
    assert (sign * np.diff(height) > 0).all()
    straight = model.height(
        x[:, np.newaxis], np.array([sign * 0.8, *[0.0] * 4, 0.2]), np.array([0, 200])
    )
    np.testing.assert_allclose(straight, sign * 0.8 * x + 0.2, rtol=1e-12)


def events(**fields: Any) -> dj.EventBatch:
    return dj.EventBatch.from_arrays(
        pt=[60.0, 40.0, 10.0, 7.0, 2.0, 3.0],
        rapidity=[0.0, 0.1, -2.0, 0.5, 2.6, 0.0],
        phi=[3.0, -3.0, 0.0, 0.0, 3.1, 3.1],
        mass=[0.0, 5.0, 0.0, 0.0, 0.0, 0.0],
        offsets=[0, 4, 6],
        columns=fields or None,
    )


CHARGE = [1.0, -1.0, 0.0, 0.0, 1.0, 0.0]


def test_features_by_hand() -> None:
    batch = events(charge=CHARGE, puppiWeight=np.arange(6.0))
    features = (
        log_pt,
        abs_eta,
        charged_density(0.02, 0.6),
        density(0.02, 0.6),
        field("puppiWeight"),
    )
    prepared = Weighting(Logistic(), features).prepare(batch)
    x = Weighting(Logistic(), features).inputs(prepared)
    np.testing.assert_allclose(x[:, 0], np.log(batch.pt) - 0.4, rtol=1e-12)
    eta = np.arcsinh(np.hypot(40.0, 5.0) / 40.0 * np.sinh(0.1))
    assert pseudorapidity(batch)[1] == pytest.approx(eta, rel=1e-12)
    np.testing.assert_allclose(x[[0, 1, 2], 1], np.array([0.0, eta, 2.0]) - 1.5, rtol=1e-12)
    apart2 = 0.1**2 + (2 * np.pi - 6.0) ** 2  # of the two charged ones of the first event
    expected = [np.log1p(40.0**2 / apart2), np.log1p(60.0**2 / apart2), 0.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(3.0 * x[:, 2] + 4.0, expected, rtol=1e-12)
    np.testing.assert_allclose(x[:, 3], x[:, 2], rtol=1e-12)  # no neutral one is near
    assert x[:, 4].tolist() == list(range(6))


def test_particles_with_a_known_vertex_keep_or_lose_their_weight() -> None:
    batch = events(charge=CHARGE, fromPV=[3.0, 0.0, 0.0, 0.0, 3.0, 0.0])
    for tracker, vertex, expected in (
        (2.5, None, [1.0, 1.0, 0.7, 0.7, 0.7, 0.7]),
        (3.0, None, [1.0, 1.0, 0.7, 0.7, 1.0, 0.7]),
        (2.5, "fromPV", [1.0, 0.0, 0.7, 0.7, 0.7, 0.7]),
        (None, None, [0.7] * 6),
    ):
        weighting = Weighting(Logistic(), (log_pt,), tracker, vertex)
        weights, prepared = Weights(weighting, weighting.start(0.7, 1)), weighting.prepare(batch)
        assert weights.of(prepared) == pytest.approx(expected)
        applied = weights.apply(prepared)
        kept = np.array(expected) > 0
        np.testing.assert_allclose(applied.pt, (batch.pt * expected)[kept], rtol=1e-12)
        np.testing.assert_allclose(applied.mass, (batch.mass * expected)[kept], rtol=1e-12)
        assert applied.rapidity.tolist() == batch.rapidity[kept].tolist()
        slopes = weights.pull_back(prepared, np.ones((6, 1)))
        free = np.isclose(expected, 0.7)
        share = (0.7 - SMALLEST) / (1 - SMALLEST)
        rise = (1 - SMALLEST) * share * (1 - share)
        assert slopes[:, -1, 0] == pytest.approx(rise * np.array([free[:4].sum(), free[4:].sum()]))


def test_a_profile_counts_free_particles() -> None:
    weighting = Weighting(Logistic(), (log_pt, abs_eta), None)
    prepared, theta = weighting.prepare(events()), np.array([1.0, 0.0, 0.3])
    sums = profile(Weights(weighting, theta), prepared)
    assert sums.shape == (2, len(EDGES) - 1, 3)
    weights = Weights(weighting, theta).of(prepared)
    for power in range(3):
        assert sums[:, :, power].sum(axis=1) == pytest.approx([(weights**power).sum()] * 2)
    assert sums[0, -1, 0] == 2  # 40 and 60 GeV are beyond the last edge


def test_bad_features_name_the_particle() -> None:
    batch = events(charge=CHARGE)
    with pytest.raises(
        InputError, match=r"expected the fields fromPV of the particles, found charge"
    ):
        Weighting(Logistic(), (log_pt,), 2.5, "fromPV").prepare(batch)
    with pytest.raises(
        InputError, match=r"expected the fields charge of the particles, found none"
    ):
        Weighting(Logistic(), (charged_density(),)).prepare(events())

    @dj.particle_feature(unit=2.0)
    def wrong(events: Any, primary: Any) -> Any:
        return np.ones(3)

    with pytest.raises(InputError, match=r"feature 'wrong' returned shape \(3,\), expected \(6,\)"):
        Weighting(Logistic(), (wrong,), None).prepare(batch)
    nan = ParticleFeature(lambda events, primary: np.log(events.pt - 10.0001), "nan")
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(InputError, match=r"entry 0, particle 2: feature 'nan' is nan"),
    ):
        Weighting(Logistic(), (nan,), None).prepare(batch)
    weighting = Weighting(Each(), (log_pt,), None)
    theta = np.array([np.nan, 0.0])
    with pytest.raises(InputError, match=r"entry 0, particle 0: the height of .*Each.* is nan"):
        Weights(weighting, theta).of(weighting.prepare(batch))
    with pytest.raises(InputError, match=r"charge has shape \(3,\), expected \(6,\)"):
        events(charge=[1.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("logistic", ["log_p"], None, None), r"features\[0\]: unknown name 'log_p' \(did you mean 'log_pt'\? valid: log_pt, abs_eta, charged"),
        (("logistic", ["log_pt", "log_pt"], None, None), r"expected different features"),
        (("logistik", ["log_pt"], None, None), r"model: unknown name 'logistik'"),
        (("monotone", [{"name": "density", "inner": 0.5}], None, None), r"expected 0 < inner < outer"),
        (({"name": "monotone", "knots": 0}, ["log_pt"], None, None), r"knots is 0, expected a whole number from 1 to 10,000"),
        (("logistic", [{"name": "field"}], None, None), r"field needs field, .* Write \{name: field, field: \.\.\.\}"),
        (("logistic", [{"name": "field", "field": "x", "unit": 0}], None, None), r"unit is 0"),
        (("logistic", ["log_pt"], None, "fromPV"), r"vertex is for charged particles below tracker_eta"),
    ],
)  # fmt: skip
def test_settings_without_meaning(arguments: Any, message: str) -> None:
    def plain(value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    model, features, *more = arguments
    with pytest.raises(ConfigError, match=message):
        weighting_of(plain(model), [plain(value) for value in features], *more)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"needs PyTorch: pip install 'djservice\[torch\]'"):
        dj.TorchWeights(small).names("ab")


def test_a_network_of_another_shape(requires: Callable[[str, object], None]) -> None:
    requires("torch (pip install 'djservice[torch]')", find_spec("torch"))

    def pair(features: int) -> Any:
        from torch import nn

        return nn.Linear(features, 2)

    model = dj.TorchWeights(pair)
    with pytest.raises(InputError, match=r"returned shape \(4, 2\) for 4 particles"):
        model.height(np.ones((9, 3)), model.start(3, 1), OFFSETS)


def test_events_keep_their_fields_through_selections() -> None:
    batch = events(charge=CHARGE)
    assert batch.select([1]).columns["charge"].tolist() == [1.0, 0.0]
    twice = dj.EventBatch.concatenate([batch, batch.select([0])])
    assert twice.columns["charge"].tolist() == CHARGE + CHARGE[:4]
    assert batch.keep(batch.pt > 5.0).columns["charge"].tolist() == CHARGE[:4]
    assert batch.nbytes == events().nbytes + 6 * 8
    mixed = dj.EventBatch.concatenate([batch, replace(batch, columns={})])
    assert mixed.columns["charge"].tolist() == CHARGE + [0.0] * len(CHARGE)
