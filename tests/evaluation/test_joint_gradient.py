"""Derivatives of a network's loss in its parameters and in R: against all trees of tiny events, plain autograd, and splits."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from every_tree import enumerate_trees
from input_tables import table

import djservice as dj
from djservice.clustering.cluster import follow_trees
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.core.torch_vector import packed
from djservice.errors import InputError, RunError
from djservice.evaluation.joint_gradient import joint_sums
from djservice.evaluation.taggers import Network, TorchTagger
from djservice.evaluation.targets import Classes
from djservice.events.batch import EventBatch
from djservice.fit.requests import Request, RunSetup
from djservice.on_dask.tasks import joint_bundles

SAMPLING = Sampling(1.5, seed=3, threads=1)
TRUTH = Classes((1.0, 0.0), (1.0, 0.5))


@pytest.fixture(autouse=True)
def torch_is_there(requires: Callable[[str, object], None]) -> None:
    requires("torch (pip install 'djservice[torch]')", find_spec("torch"))


def mass_and_pt(classes: int) -> Any:
    """A network that is linear in ln pT and ln(1 + m) of the jet, plain enough to be written twice."""
    import torch

    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, classes)

        def forward(self, particles: Any, mask: Any) -> Any:
            px, py, pz, e = (particles * mask[..., None]).sum(dim=1).unbind(-1)
            mass = (e**2 - px**2 - py**2 - pz**2).clamp(min=0.0).sqrt()
            features = torch.stack([(px**2 + py**2).sqrt().log(), (1.0 + mass).log()], dim=-1)
            return self.layer(features)

    return Linear()


TAGGER = TorchTagger(mass_and_pt)


def network(constituents: int = 8, classes: Classes = TRUTH) -> Network:
    return Network(TAGGER, classes, constituents, TAGGER.vector(2).start())


def tiny(copies: int) -> EventBatch:
    """Copies of an event of four particles, of both classes in turn, which differ in their draws."""
    pt, y, phi, mass = np.tile(
        np.array(table("exact_inputs_n4")[0]["particles_pt_y_phi_m"]), (copies, 1)
    ).T
    return EventBatch.from_arrays(
        pt=pt, rapidity=y, phi=phi, mass=mass, offsets=4 * np.arange(copies + 1),
        truth=np.arange(copies) % 2.0,
    )  # fmt: skip


def real(events: int = 20) -> EventBatch:
    batch = dj.read(
        "example:ZHllbb_200", entries=(0, events), schema=dj.schemas.nanoaod(pt_min=2.0)
    )
    return replace(batch, truth=np.arange(events) % 2.0)


def plain(module: Any, momenta: Any, labels: Any) -> Any:
    """Loss of jets from their momenta alone."""
    import torch

    px, py, pz, e = np.moveaxis(momenta, -1, 0)
    mass = np.sqrt(np.maximum(e**2 - px**2 - py**2 - pz**2, 0.0))
    features = torch.tensor(np.stack([np.log(np.hypot(px, py)), np.log1p(mass)], axis=-1))
    logs = module.layer(features).log_softmax(-1)
    return -logs.gather(-1, torch.tensor(labels)[..., None])[..., 0]


def test_all_trees_of_a_tiny_event() -> None:
    """E[l], dE[l]/dR and dE[l]/dtheta of every tree with its probability, against sampling."""
    module = network().vector.module()
    history = np.array(list(enumerate_trees(table("exact_inputs_n4")[0]["particles_pt_y_phi_m"])))

    def expected(radius: float) -> Any:
        request = TreeRequest(len(history), 1)
        sample = follow_trees(
            tiny(1), history.reshape(-1, 2).astype(np.int32), radius, SAMPLING, request
        )
        losses = [plain(module, sample.momenta[0, :, 0], np.full(len(history), k)) for k in (1, 0)]
        import torch

        probability = torch.tensor(np.exp(sample.log_prob[0]))
        # Classes 1 and 0 of the truth have the weights 1/2 and 1, and the truths 0, 1, 0, 1 ...
        return (probability * (0.5 * losses[0] + losses[1])).sum() / 1.5

    sums, _ = joint_sums(tiny(4000), network(), SAMPLING, radius=0.8, trees=8)
    loss, gradients = sums.loss(), sums.gradients()
    exact = expected(0.8)
    slope = (expected(0.8005) - expected(0.7995)).item() / 0.001
    exact.backward()
    assert abs(loss.value - exact.item()) < 4 * loss.error
    assert abs(gradients[0].value - slope) < 4 * gradients[0].error
    assert gradients[0].error < 0.2 * abs(slope)
    of_network = packed({name: value.grad for name, value in module.named_parameters()})
    found = [quantity.value for quantity in gradients[1:]]
    np.testing.assert_allclose(found, of_network, rtol=0.05, atol=0.005)


def test_plain_autograd_over_the_same_trees() -> None:
    events, module = real(), network().vector.module()
    sums, per_event = joint_sums(events, network(1000), SAMPLING, radius=0.8, trees=6, iteration=2)
    trees = dj.cluster(
        events, radius=0.8, rigidity=1.5, trees=6, jets=1, seed=3, iteration=2, threads=1
    )
    labels = np.repeat(1 - events.truth.astype(int), 6).reshape(-1, 6)
    loss = plain(module, trees.momenta[:, :, 0], labels)
    weight = np.where(labels[:, 0] == 0, 1.0, 0.5)
    mean = loss.mean(dim=1).detach().numpy()
    np.testing.assert_allclose(per_event.loss, mean, rtol=1e-6)
    assert sums.loss().value == pytest.approx(np.average(mean, weights=weight), rel=1e-6)
    score, value = trees.scores[..., 0], loss.detach().numpy()
    others = (value.sum(axis=1, keepdims=True) - value) / 5
    in_radius = np.average(((value - others) * score).mean(axis=1), weights=weight)
    assert sums.gradients()[0].value == pytest.approx(in_radius, rel=1e-6)
    import torch

    (loss.mean(dim=1) * torch.tensor(weight)).sum().backward()
    expected = packed({name: value.grad for name, value in module.named_parameters()})
    np.testing.assert_allclose(sums.slopes, expected, rtol=1e-6, atol=1e-9)


def test_threads_and_pieces_change_no_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    settings: dict[str, Any] = {"radius": 0.8, "trees": 4}
    once, _ = joint_sums(real(), network(), SAMPLING, **settings)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    again, _ = joint_sums(real(), network(), replace(SAMPLING, threads=2), **settings)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    for name in ("total", "outer", "slopes"):
        assert getattr(again, name).tobytes() == getattr(once, name).tobytes()
    monkeypatch.setattr("djservice.evaluation.joint_gradient.TREES_AT_ONCE", 12)
    monkeypatch.setattr("djservice.evaluation.joint_gradient.BLOCK", 5)
    pieces, _ = joint_sums(real(), network(), SAMPLING, **settings)
    np.testing.assert_allclose(pieces.slopes, once.slopes, rtol=1e-10, atol=1e-12)


def test_bundles_have_the_same_bits_alone_and_together() -> None:
    import cloudpickle

    loss = dj.SquaredError(dj.observables.leading_jet_mass, target=10.0)
    setup = cloudpickle.dumps(RunSetup(loss, dj.LeaveOneOut(), SAMPLING))
    request = Request(0.8, 4, "joint", 1, per_event=True, network=network())
    bundles = [real().select(np.arange(start, start + 5)) for start in (0, 5, 10)]
    together = joint_bundles(bundles, setup, [request] * 3, [None] * 3)
    for bundle, (sums, events) in zip(bundles, together, strict=True):
        ((alone, each),) = joint_bundles([bundle], setup, [request], [None])
        assert alone.slopes.tobytes() == sums.slopes.tobytes()
        assert alone.outer.tobytes() == sums.outer.tobytes()
        assert each is not None and events is not None
        assert each.value.tobytes() == events.value.tobytes()
    merged, _ = joint_sums(
        real(15), network(), SAMPLING, radius=0.8, trees=4, stream="joint", iteration=1
    )
    added = together[0][0] + together[1][0] + together[2][0]
    assert added.events == 15 and added.trees == 60
    for found, expected in zip(added.gradients(), merged.gradients(), strict=True):
        assert found.value == pytest.approx(expected.value, rel=1e-9, abs=1e-12)


def test_events_without_particles_and_of_no_class() -> None:
    events = real(4)
    some = EventBatch.from_arrays(
        pt=events.pt[:20], phi=events.phi[:20], mass=events.mass[:20], rapidity=events.rapidity[:20],
        offsets=[0, 0, 10, 20], truth=[1.0, 1.0, 0.0],
    )  # fmt: skip
    sums, per_event = joint_sums(some, network(), SAMPLING, radius=0.8, trees=2)
    assert sums.events == 2 and np.isnan(per_event.loss).tolist() == [True, False, False]
    with pytest.raises(
        InputError, match=r"2 events have a truth that is none of the classes 1\.0, 3\.0"
    ):
        joint_sums(
            events, network(classes=Classes((1.0, 3.0), (1.0, 1.0))), SAMPLING, radius=0.8, trees=2
        )
    with pytest.raises(InputError, match=r"events of dataset 'Z', expected one of top, qcd"):
        Classes(("top", "qcd"), (1.0, 1.0)).of(replace(events, dataset="Z"))


def test_modules_that_are_wrong() -> None:
    import torch

    class Wrong(torch.nn.Module):
        def __init__(self, width: int, value: float) -> None:
            super().__init__()
            self.value = torch.nn.Parameter(torch.full((width,), value))

        def forward(self, particles: Any, mask: Any) -> Any:
            return self.value.expand(len(particles), -1)

    for width, value, error, message in (
        (
            3,
            0.0,
            InputError,
            r"returned shape \(\d+, 3\) for \d+ jets, expected \(\d+, 2\), a score",
        ),
        (2, np.nan, RunError, r"not finite in 4 events: .*joint\.learning_rate"),
    ):
        tagger = TorchTagger(lambda _, width=width, value=value: Wrong(width, value))
        wrong = Network(tagger, TRUTH, 8, tagger.vector(2).start())
        with pytest.raises(error, match=message):
            joint_sums(real(4), wrong, SAMPLING, radius=0.8, trees=2)
