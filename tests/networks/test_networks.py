"""Moment EFNs against brute force, their safety, and what their export and training promise."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import djservice as dj

HERE = "torch (pip install 'djservice[torch]')"


@pytest.fixture(autouse=True)
def torch(requires: Callable[..., None]) -> Any:
    """PyTorch is large: it comes with the extra "torch" and not with "test"."""
    requires(HERE, find_spec("torch"))
    import torch

    return torch


def jets_of(seed: int, jets: int = 5, particles: int = 12, spread: float = 0.2) -> np.ndarray:
    """Jets near y = 0.5 and the seam of phi, massless but for every third particle."""
    draws = np.random.default_rng(seed)
    pt = draws.exponential(20.0, (jets, particles)) + 0.1
    y = draws.normal(0.5, spread, pt.shape)
    phi = draws.normal(math.pi, spread, pt.shape)
    mass = np.where(np.arange(particles) % 3 == 0, 0.14, 0.0)
    mt = np.hypot(pt, mass)
    columns = [pt * np.cos(phi), pt * np.sin(phi), mt * np.sinh(y), mt * np.cosh(y)]
    return np.stack(columns, axis=-1)


def close(left: Any, right: Any, tolerance: float) -> None:
    """Two tensors agree."""
    arrays = (tensor.detach().numpy() for tensor in (left, right))
    np.testing.assert_allclose(*arrays, rtol=tolerance, atol=tolerance)


def network_of(order: int, latent: int, **more: Any) -> Any:
    import torch

    return dj.networks.MomentEFN(
        order, latent, **{"scale": 0.4, "dtype": torch.float64, "seed": 3} | more
    )


def shares_and_directions(jet: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z, y and phi of a jet's particles by the textbook, about their mean."""
    px, py, pz, energy = jet.T
    z = np.hypot(px, py) / np.hypot(px, py).sum()
    y = 0.5 * np.log((energy + pz) / (energy - pz))
    phi = np.angle((px + 1j * py) / (px + 1j * py).sum())
    return z, np.stack([y - z @ y, phi - z @ phi], axis=-1)


@pytest.mark.parametrize(("order", "latent"), [(1, 1), (1, 4), (2, 3), (4, 1), (3, 2)])
def test_moments_are_those_of_brute_force(torch: Any, order: int, latent: int) -> None:
    particles = jets_of(1)
    network = network_of(order, latent)
    mask = torch.ones(particles.shape[:2], dtype=torch.bool)
    moments = network.moments_of(torch.tensor(particles), mask).detach().numpy()
    assert moments.shape[1] == network.moments == math.comb(order + latent, order)
    for jet, row in zip(particles, moments, strict=True):
        z, directions = shares_and_directions(jet)
        y, phi = directions.T / 0.4
        inputs = np.stack([y, phi, np.log(1e-3 + np.hypot(y, phi))], axis=-1)
        values = network.phi(torch.tensor(inputs)).detach().numpy()
        expected = [
            z @ np.prod(values[:, list(factors)], axis=1)
            for count in range(order + 1)
            for factors in itertools.combinations_with_replacement(range(latent), count)
        ]
        np.testing.assert_allclose(np.sort(row), np.sort(expected), rtol=1e-10, atol=1e-13)
        assert row[0] == pytest.approx(1.0, abs=1e-14)


def test_order_one_is_an_energy_flow_network(torch: Any) -> None:
    particles = jets_of(2)
    network = network_of(1, 4)
    z, directions = zip(*(shares_and_directions(jet) for jet in particles), strict=True)
    y, phi = np.moveaxis(np.array(directions), -1, 0) / 0.4
    inputs = torch.tensor(np.stack([y, phi, np.log(1e-3 + np.hypot(y, phi))], axis=-1))
    sums = (torch.tensor(np.array(z))[..., None] * network.phi(inputs)).sum(dim=1)
    ones = torch.ones_like(sums[:, :1])
    expected = network.head(torch.cat([ones, sums], dim=1))
    close(network(torch.tensor(particles)), expected, 1e-10)


@pytest.mark.parametrize("order", [1, 3])
def test_outputs_are_infrared_and_collinear_safe_and_blind_to_order(torch: Any, order: int) -> None:
    particles = jets_of(3)
    network = network_of(order, 2)
    outputs = network(torch.tensor(particles))

    def after(changed: np.ndarray) -> Any:
        return (network(torch.tensor(changed)) - outputs).detach()

    order_of_particles = np.random.default_rng(0).permutation(particles.shape[1])
    assert after(particles[:, order_of_particles]).abs().max() < 1e-12
    shares = np.array([0.3, 0.1, 0.6])[:, None]
    split = np.concatenate([particles[:, :1] * share for share in shares], axis=1)
    assert after(np.concatenate([split, particles[:, 1:]], axis=1)).abs().max() < 1e-12
    soft = jets_of(4, particles=2, spread=1.0)
    changes = [
        float(after(np.concatenate([particles, soft * size], axis=1)).abs().max())
        for size in (1e-3, 1e-5, 1e-7)
    ]
    assert changes[0] < 0.05
    for larger, smaller in itertools.pairwise(changes):
        assert smaller == pytest.approx(larger / 100, rel=0.2)
    # A direction moved by epsilon moves the output no more than in proportion to 1 / 1e-3.
    near = particles.copy()
    near[:, 0, 2] *= 1 + 1e-9
    assert after(near).abs().max() < 1e-6


def test_a_jet_may_be_rotated_about_the_beam_and_boosted_along_it(torch: Any) -> None:
    particles = jets_of(5)
    network = network_of(3, 2)
    turn, boost = 2.1, -0.8
    rotation = np.eye(4)
    rotation[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    rotation[2:, 2:] = [[math.cosh(boost), math.sinh(boost)], [math.sinh(boost), math.cosh(boost)]]
    moved = network(torch.tensor(particles @ rotation.T))
    close(moved, network(torch.tensor(particles)), 1e-10)


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_what_stands_in_padding_is_not_read(torch: Any, name: str) -> None:
    dtype = getattr(torch, name)
    particles = torch.tensor(jets_of(6), dtype=dtype)
    mask = torch.tensor(np.random.default_rng(6).random(particles.shape[:2]) < 0.6)
    mask[2] = False  # a jet without particles
    network = network_of(3, 2, dtype=dtype)
    outputs = network(particles, mask)
    assert outputs.dtype == dtype
    assert torch.isfinite(outputs).all()
    for inside in (0.0, math.nan, 1e30):
        other = torch.where(mask[..., None], particles, inside).requires_grad_()
        changed = network(other, mask)
        assert torch.equal(changed, outputs)
        changed.sum().backward()
        assert torch.isfinite(other.grad).all()
        assert not other.grad[~mask].any()
        assert other.grad[mask].any()
    rounding = 1e-5 if name == "float32" else 1e-12
    wider = [
        torch.nn.functional.pad(x, pad) for x, pad in ((particles, (0, 0, 3, 9)), (mask, (3, 9)))
    ]
    close(network(*wider), outputs, rounding)
    one = network(particles[:1][:, mask[0]])
    close(one, outputs[:1], rounding)


def test_float32_agrees_with_float64_and_a_seed_gives_the_same_network(torch: Any) -> None:
    particles = torch.tensor(jets_of(7))
    state = torch.random.get_rng_state()
    exact, single = (network_of(2, 3, dtype=x) for x in (torch.float64, torch.float32))
    assert torch.equal(torch.random.get_rng_state(), state)
    close(single(particles.float()).double(), exact(particles), 1e-4)
    assert torch.equal(network_of(2, 3)(particles), exact(particles))
    assert not torch.equal(network_of(2, 3, seed=4)(particles), exact(particles))


@pytest.mark.parametrize(("outputs", "name"), [(2, "float32"), (3, "float64"), (1, "float32")])
def test_an_exported_network_gives_the_same_values(
    torch: Any, requires: Callable[..., None], tmp_path: Path, outputs: int, name: str
) -> None:
    for package in ("onnx", "onnxruntime"):
        requires(package, find_spec(package))
    import onnxruntime

    network = network_of(3, 2, outputs=outputs, dtype=getattr(torch, name)).train()
    labels = [f"label_{letter}" for letter in "abc"[:outputs]]
    dj.networks.export(network, tmp_path / "tagger", labels, constituents=64)
    assert network.training
    session = onnxruntime.InferenceSession(
        tmp_path / "tagger/model.onnx", providers=["CPUExecutionProvider"]
    )
    description = json.loads((tmp_path / "tagger/preprocess.json").read_text())
    assert description["output_names"] == labels
    assert description["input_names"] == [each.name for each in session.get_inputs()]
    assert [each.name for each in session.get_outputs()] == ["softmax" if outputs > 1 else "output"]
    for entry in (description[each] for each in description["input_names"]):
        assert entry["var_length"] == 64
        assert set(entry["var_infos"]) == set(entry["var_names"])
    assert description["pf_vectors"]["var_names"] == [
        "part_px",
        "part_py",
        "part_pz",
        "part_energy",
    ]
    for jets, particles in ((5, 12), (1, 30), (300, 2)):
        momenta = torch.tensor(jets_of(jets, jets, particles), dtype=torch.float32)
        mask = torch.tensor(np.random.default_rng(jets).random((jets, particles)) < 0.7)
        mask[-1] = jets == 1  # a jet without particles
        expected = network(momenta, mask).detach().double()
        expected = expected.softmax(dim=-1) if outputs > 1 else expected
        padded = torch.where(mask[..., None], momenta, 0.0).transpose(1, 2).numpy()
        (values,) = session.run(
            None, {"pf_vectors": padded, "pf_mask": mask[:, None].float().numpy()}
        )
        assert abs(values - expected.numpy()).max() < 1e-6


def wide_and_narrow(jets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Padded jets of two classes that differ in their width alone, labels and mask."""
    narrow, wide = (jets_of(seed, jets, 10, spread) for seed, spread in ((8, 0.1), (9, 0.2)))
    mask = np.random.default_rng(10).random((2 * jets, 10)) < 0.8
    mask[:, 0] = True
    return np.concatenate([narrow, wide]), np.repeat([0, 1], jets), mask


def test_a_training_finds_the_width_and_repeats_itself(torch: Any) -> None:
    particles, labels, mask = wide_and_narrow(400)
    steps: list[Any] = []

    class Watched:
        def phase(self, *numbers: Any) -> None:
            steps.append(numbers)

        def step(self, numbers: dict[str, float]) -> None:
            steps.append(numbers["loss"])

    def trained(**more: Any) -> tuple[Any, np.ndarray]:
        network = dj.networks.MomentEFN(2, 1, scale=0.4, particle_layers=(8,), jet_layers=(8,))
        training = dj.networks.train(network, particles, labels, mask, epochs=8, **more)
        return training, dj.networks.probabilities(network, particles, mask)

    before = torch.get_num_threads()
    training, scores = trained(learning_rate=2e-2, watch=Watched())
    assert torch.get_num_threads() == before
    assert steps == [("train", 8, 0), *training.held_back_loss]
    assert training.held_back_loss[training.best] == training.held_back_loss.min()
    assert training.held_back_loss.min() < 0.6 < 0.69 < training.loss[0] + 0.02
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)
    order = scores[:, 1].argsort()
    area = 1 - (np.flatnonzero(labels[order] == 0).mean() - 199.5) / 400
    assert 1 - area < 0.3
    again, same = trained(learning_rate=2e-2)
    assert np.array_equal(same, scores)
    assert np.array_equal(again.loss, training.loss)
    assert not np.array_equal(trained(learning_rate=2e-2, seed=1)[1], scores)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": 0}, "order is 0, expected a whole number"),
        ({"latent": 2.5}, "latent is 2.5"),
        ({"outputs": True}, "outputs is True"),
        ({"order": 65, "latent": 1}, "order is 65, expected a whole number from 1 to 64"),
        ({"jet_layers": [1] * 99}, "101 hidden layers, expected at most 100"),
        ({"order": 8, "latent": 30}, "order 8 of 30 latent functions has more than 4,096 moments"),
        ({"scale": math.nan}, "scale is nan"),
        ({"particle_layers": (8, 0)}, "the width of a layer is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"dtype": "float32"}, "dtype is float32"),
    ],
)
def test_networks_without_meaning_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(dj.networks.moment_efn.InputError, match=message):
        dj.networks.MomentEFN(**settings)


def test_wrong_arrays_are_refused_by_name(
    torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    particles, labels, mask = wide_and_narrow(30)
    network = dj.networks.MomentEFN()
    tensor = torch.tensor(particles)
    for arguments, message in [
        ((particles,), "particles are float64, expected a torch.Tensor"),
        ((tensor[0],), r"particles have the shape \(10, 4\)"),
        ((tensor[..., :3],), r"expected \(jet, particle, 4\)"),
        ((tensor, torch.ones(60, 10)), "the mask is torch.float32"),
        ((tensor, torch.ones(60, 9, dtype=torch.bool)), r"expected torch.bool of shape \(60, 10\)"),
    ]:
        with pytest.raises(dj.DjserviceError, match=message):
            network(*arguments)
    broken = particles.copy()
    broken[7, 0, 1] = np.nan
    for arguments, more, message in [
        ((particles[0], labels), {}, r"particles have the shape \(10, 4\)"),
        ((broken, labels, mask), {}, "jet 7, particle 0: the momentum is .*nan"),
        ((particles, labels, mask[:, :9]), {}, r"the mask is .* of shape \(60, 9\)"),
        ((particles, labels[:50]), {}, r"labels are .* of shape \(50,\), expected .*\(60,\)"),
        ((particles, labels * 0.5), {}, "labels are torch.float64"),
        ((particles, labels + 1), {}, "labels go from 1 to 2, expected 0 to 1"),
        ((particles, labels * 0), {}, r"the classes have \[60, 0\] jets"),
        ((particles[:35], labels[:35]), {}, r"the classes have \[30, 5\] jets"),
        ((particles, labels), {"epochs": 0}, "epochs is 0"),
        ((particles, labels), {"batch": 1.5}, "batch is 1.5"),
        ((particles, labels), {"learning_rate": math.inf}, "learning_rate is inf"),
        ((particles, labels), {"learning_rate": 1e30, "epochs": 3}, "loss is not finite in epoch"),
    ]:
        with pytest.raises(dj.DjserviceError, match=message):
            dj.networks.train(dj.networks.MomentEFN(), *arguments, **more)
    for labels_of_classes in (["a"], ["a", "a"]):
        with pytest.raises(dj.DjserviceError, match="expected 2 different names"):
            dj.networks.export(network, tmp_path, labels_of_classes)
    next(network.parameters()).data.fill_(math.nan)
    with pytest.raises(dj.DjserviceError, match=r"phi.0.weight has values that are not finite"):
        dj.networks.export(network, tmp_path)
    monkeypatch.setattr(dj.networks.onnx_export, "find_spec", lambda package: None)
    with pytest.raises(
        ImportError, match=r"needs onnx to export: pip install 'djservice\[torch\]'"
    ):
        dj.networks.export(network, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("use", ["networks", "calibrate"])
def test_without_pytorch_the_extra_is_named(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [m for m in sys.modules if m.startswith("djservice.networks")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'djservice\[torch\]'") as caught:
        if use == "networks":
            importlib.import_module("djservice.networks")
        else:
            dj.calibrate(np.arange(600.0), np.arange(600.0))
    assert isinstance(caught.value, dj.DjserviceError)
